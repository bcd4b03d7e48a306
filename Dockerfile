# The Check server with both transports, the `opa` tool and OPA as a C library; and, as target `development`, the same
# with the folders that the development platform of docker-compose.yml keeps its volumes in.
#
#   docker build -t extauthz .
#
# Everything is pinned: Python packages by hashes (deploy/*.lock), Go modules by go.sum, the Go toolchain and the C
# compiler by hashes (native/toolchain.lock). Once built, nothing is fetched any more.

# ---------------------------------------------------------------- OPA, from its Go module
FROM python:3.11-slim-bookworm AS native
ENV XDG_CACHE_HOME=/tmp/cache GOPATH=/tmp/go GOCACHE=/tmp/go-build
WORKDIR /src
COPY native ./native
RUN python native/build.py \
 && mkdir /out && cp "$(python native/build.py --where)"/* /out/ \
 && chmod -R u+w /tmp/go && rm -rf /tmp/cache /tmp/go /tmp/go-build

# ---------------------------------------------------------------- Python packages and this one
FROM python:3.11-slim-bookworm AS packages
WORKDIR /src
COPY deploy/requirements.lock ./deploy/
RUN python -m venv --without-pip /opt/extauthz \
 && python -m pip --python /opt/extauthz/bin/python install --quiet --no-cache-dir --disable-pip-version-check \
      --root-user-action=ignore --only-binary :all: --require-hashes -r deploy/requirements.lock
COPY deploy/build.lock ./deploy/
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --require-hashes -r deploy/build.lock
COPY pyproject.toml README.md LICENSE ./
COPY policies ./policies
COPY envoy ./envoy
COPY native ./native
COPY extauthz ./extauthz
RUN /opt/build/bin/pip wheel --quiet --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation -w /tmp/wheel . \
 && python -m pip --python /opt/extauthz/bin/python install --quiet --no-cache-dir --disable-pip-version-check \
      --root-user-action=ignore --no-deps --no-index /tmp/wheel/*.whl
COPY --from=native /out /opt/extauthz/native
COPY deploy/healthcheck.py deploy/sbom.py /opt/extauthz/
# What is inside: Python packages as they are installed, Go modules as they are written in the binaries.
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN /opt/build/bin/cyclonedx-py environment --output-format JSON --pyproject pyproject.toml /opt/extauthz/bin/python \
      | python /opt/extauthz/sbom.py /opt/extauthz/native/opa /opt/extauthz/native/*.so > /opt/extauthz/sbom.cdx.json \
 && rm /opt/extauthz/sbom.py

# ---------------------------------------------------------------- what runs
FROM python:3.11-slim-bookworm AS server
LABEL org.opencontainers.image.title="extauthz" \
      org.opencontainers.image.description="Envoy external authorization in Python, decided by Rego policies in a local OPA" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="docker.io/library/python:3.11-slim-bookworm" \
      io.extauthz.sbom="/opt/extauthz/sbom.cdx.json"
RUN groupadd --gid 10001 extauthz \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin extauthz \
 && install -d -o 10001 -g 10001 -m 0750 /etc/extauthz /run/extauthz
COPY --from=packages /opt/extauthz /opt/extauthz
ENV PATH=/opt/extauthz/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    EXTAUTHZ_OPA=/opt/extauthz/native/opa \
    EXTAUTHZ_OPA_LIB=/opt/extauthz/native/libextauthz_opa.so
WORKDIR /etc/extauthz
USER 10001:10001
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=5 \
  CMD ["python", "-IS", "/opt/extauthz/healthcheck.py", "http://127.0.0.1:9190/readyz"]
ENTRYPOINT ["extauthz"]
CMD ["serve", "/etc/extauthz/extauthz.yaml"]

# ---------------------------------------------------------------- the platform of docker-compose.yml
FROM server AS development
# A new volume takes the owner of the folder that it is mounted over.
# hadolint ignore=DL3002
USER 0:0
RUN python -m extauthz.demo.compose_files folders && chown -R 10001:10001 /platform
USER 10001:10001
HEALTHCHECK NONE
ENTRYPOINT ["python", "-m"]
CMD ["extauthz.demo.compose_files", "prepare"]

# ---------------------------------------------------------------- the default
FROM server AS runtime
