# The whole assistant in one image: model, web, index of sample figures.
#
#   docker build -t medvint .
#   docker run --rm -p 127.0.0.1:7860:7860 medvint
#
# With an NVIDIA GPU and its container toolkit:
#   docker build -t medvint-gpu --build-arg BUILD=gpu .
#   docker run --rm --gpus all -p 127.0.0.1:7860:7860 medvint-gpu
FROM python:3.12-slim-bookworm

SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc g++ libgomp1 libnuma1 make \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 user

USER 1000
WORKDIR /home/user/app
COPY --chown=user requirements*.txt pyproject.toml README.md Makefile ./
COPY --chown=user assistant ./assistant
COPY --chown=user serving ./serving
COPY --chown=user retrieval ./retrieval
COPY --chown=user prompts ./prompts
COPY --chown=user Procfile LICENSE ./

ARG BUILD=cpu
RUN make setup BUILD="$BUILD" && rm -rf /home/user/.cache
# The port is published by whoever runs the image, to this machine only in the commands above.
ENV MEDVINT_HOST=0.0.0.0 MEDVINT_ALLOW_OPEN=1 PATH=/home/user/app/.venv/bin:$PATH
RUN medvint prepare

EXPOSE 7860
HEALTHCHECK --start-period=180s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:7860/healthz', timeout=5)"]
CMD ["medvint", "up"]
