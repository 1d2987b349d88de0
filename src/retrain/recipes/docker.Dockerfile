# A Dockerfile: another user, a read-only root; for Docker and Podman
#
#     retrain recipe docker >Dockerfile    # beside @file@; read it, and add your training's code below
#     pip freeze --exclude retrain-controller >requirements.txt    # the libraries of your training, as they are here
#     pip wheel --quiet --no-deps --wheel-dir wheels PATH_OF_THE_CLONE
#     docker build --tag retrain-@name:dns@ .
#     docker run --rm --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges --stop-timeout @grace@ \
#       --volume retrain-@name:dns@-state:@state:shell@ \
#       --volume retrain-@name:dns@-models:@models:shell@ \
#       --volume retrain-@name:dns@-data:@data:shell@ \
#       retrain-@name:dns@ check
#
# cron of the host runs the last line, with `promote --if-pending`, too; its exit code is that of retrain. For the
# address of your monitor write `url: ${MONITORING_URL}` into @file@, and pass it with `--env`; 127.0.0.1 is the
# container itself, unless you add `--network host`. Secrets are passed with `--env-file`, and are never in the image.
# The service reads the volume of the models. The tests of retrain build and run this with Podman.
FROM docker.io/library/python:@version@-slim

RUN apt-get update && apt-get install --yes --no-install-recommends make && rm -rf /var/lib/apt/lists/*
COPY requirements.txt /tmp/
RUN python -m venv /opt/venv && /opt/venv/bin/pip install --no-cache-dir --requirement /tmp/requirements.txt
COPY wheels/ /tmp/wheels/
RUN /opt/venv/bin/pip install --no-cache-dir /tmp/wheels/*.whl && rm -r /tmp/wheels /tmp/requirements.txt
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin HOME=/tmp

WORKDIR @home@
COPY ["@file:inner@", "config.yaml"]
# What your training needs, file by file: a pattern may match data or secrets.
COPY Makefile ./
RUN ["install", "--directory", "--owner=10001", "--group=10001", "@state:inner@", "@models:inner@", "@data:inner@"]

USER 10001:10001
# No shell between: as process 1 it gets SIGTERM, passes it to its training, and waits for that.
ENTRYPOINT ["retrain"]
CMD ["check"]
