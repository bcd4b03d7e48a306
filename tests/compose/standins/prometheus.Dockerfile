# In place of prom/prometheus: Prometheus, promtool and wget from Debian.
FROM python:3.11-slim-bookworm
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends prometheus wget >/dev/null \
 && rm -rf /var/lib/apt/lists/*
USER 65534:65534
ENTRYPOINT ["prometheus"]
