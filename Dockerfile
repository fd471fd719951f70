# The studio in a container:  docker build -t studio . && docker run -p 7860:7860 -v studio:/data studio
# With NVIDIA GPUs add `--gpus all`: the torch that PyPI has for Linux uses CUDA where the driver is there and the CPU
# elsewhere. A much smaller image without CUDA:
#   docker build --build-arg PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu -t studio .
FROM debian:bookworm-slim

# Debian stable's own security updates are wanted, so no package version is pinned.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 python3-venv tini \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /venv \
    && useradd --create-home --uid 1000 user \
    && install -d -o user -g user /data
ENV PATH=/venv/bin:$PATH

ARG PIP_EXTRA_INDEX_URL=
COPY requirements.txt /app/
RUN pip install --no-cache-dir -r /app/requirements.txt

COPY . /app
RUN python -m compileall -q /app

USER 1000
WORKDIR /app
# /data holds everything a person makes or downloads: mount a volume there to keep it.
ENV HOME=/home/user STUDIO_HOME=/data HF_HOME=/data/huggingface STUDIO_HOST=0.0.0.0 STUDIO_CONTAINER=1
EXPOSE 7860
HEALTHCHECK --start-period=30s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/healthz', timeout=5)"]
ENTRYPOINT ["tini", "--"]
CMD ["python", "app.py"]
