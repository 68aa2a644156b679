# The web page and the HTTP API of unhaze, on the CPU. docker build -t unhaze . && docker compose up
FROM python:3.11-slim AS build
COPY pyproject.toml README.md LICENSE /source/
COPY src /source/src
COPY recipes /source/recipes
RUN python -m venv /opt/unhaze && /opt/unhaze/bin/pip install --no-cache-dir "/source[web,video,heic,raw,formats]"

FROM python:3.11-slim
COPY --from=build /opt/unhaze /opt/unhaze
ENV PATH="/opt/unhaze/bin:$PATH" PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 ORT_DISABLE_TELEMETRY=1
# Writes to /tmp only, so that all else may be read-only.
WORKDIR /tmp
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["unhaze", "serve", "--host", "0.0.0.0"]
