"""The commands `init` and `config`: a configuration that is written, tested without a network, shown and described."""
