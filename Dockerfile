# One image for gateway, worker and migration: the command says which.
#
#     make image          # with docker, podman or buildah, whichever works here
#     make image-offline  # on a base made from Debian's packages, where no registry can be reached
#
# For a build that gives the same image again, pin the base by digest: PYTHON_IMAGE=python:3.13-slim-trixie@sha256:...
# The tag without digest follows the security fixes of Python and Debian; rebuild when they come.
ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim-trixie

# ---- build: the locked packages and our own wheel in one virtual environment. Nothing else of this stage is kept.
FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_PROGRESS_BAR=off
WORKDIR /build
RUN python3 -m venv /opt/sluice
COPY requirements/image.txt requirements/image.txt
# Wheels only: a package that would want a compiler fails here, and not in a stage that has one.
RUN /opt/sluice/bin/python -m pip install --require-hashes --only-binary=:all: -r requirements/image.txt
COPY pyproject.toml README.md LICENSE ./
COPY common common
COPY gateway gateway
COPY worker worker
COPY client client
COPY cli cli
# What only builds and installs is taken out again; `pip check` says whether anything that stays wanted it.
RUN /opt/sluice/bin/python -m pip install --no-index --no-deps --no-build-isolation . \
    && /opt/sluice/bin/python -m pip uninstall --yes editables hatchling pathspec pluggy trove-classifiers \
    && /opt/sluice/bin/python -m pip check \
    && /opt/sluice/bin/python -m pip uninstall --yes pip \
    && rm -rf /opt/sluice/include /opt/sluice/bin/*ctivate*

# ---- the image
FROM ${PYTHON_IMAGE}
# A new named volume takes owner and mode of the folder it covers: that is how /srv/sluice comes to belong to 10001.
RUN groupadd --gid 10001 sluice \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /srv/sluice --shell /usr/sbin/nologin sluice \
    && install --directory --owner=10001 --group=10001 --mode=0750 /srv/sluice
COPY --from=build /opt/sluice /opt/sluice
COPY --chmod=0755 deploy/image/probe /usr/local/bin/probe
ARG VERSION=0.0.0+unknown
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
ARG PYTHON_IMAGE
LABEL org.opencontainers.image.title="sluice" \
      org.opencontainers.image.description="Queue-backed upload ingestion: gateway, worker and migration" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/sluice/sluice" \
      org.opencontainers.image.documentation="https://github.com/sluice/sluice/tree/main/docs" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"
# The root file system may be read-only: nothing is written but below /srv/sluice (where a volume belongs) and /tmp.
ENV PATH=/opt/sluice/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONUTF8=1
USER 10001:10001
WORKDIR /srv/sluice
EXPOSE 8000 8001
STOPSIGNAL SIGTERM
# No HEALTHCHECK: gateway, worker and migration differ. `probe PORT PATH` starts no interpreter; see docker-compose.yml.
ENTRYPOINT ["sluice"]
CMD ["--help"]
