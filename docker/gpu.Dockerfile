# Laconic on NVIDIA GPUs. From the root of the tree:
#   docker build -f docker/gpu.Dockerfile -t laconic:gpu .
# For a build that can be repeated to the byte, give BASE with its digest.
ARG BASE=nvidia/cuda:13.0.1-devel-ubuntu24.04
FROM ${BASE}

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# Compilers, nvcc of the base included, because kernels are compiled at first use; wget for
# KubeRay's probes; bubblewrap for the sandbox of programs.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends \
      python3 python3-dev python3-venv g++ wget bubblewrap libnuma1 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --uid 10001 --shell /bin/bash laconic \
 && install -d -o laconic -g laconic /home/laconic/laconic/runs

# Login shells, which KubeRay uses, set PATH anew: hence the profile.
# The packages change seldom and are nearly all of the image, so they are a layer of their own.
COPY requirements/gpu.lock /tmp/laconic.lock
# hadolint ignore=SC2016
RUN --mount=type=cache,target=/root/.cache \
    python3 -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir "uv==0.9.5" \
 && /opt/venv/bin/uv pip install --python /opt/venv/bin/python --no-deps --compile-bytecode \
      --requirements /tmp/laconic.lock \
 && mkdir -p /opt/venv/torch_extensions && chown laconic /opt/venv/torch_extensions \
 && echo 'PATH=/opt/venv/bin:"$PATH"' > /etc/profile.d/laconic.sh

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    RAY_USAGE_STATS_ENABLED=0 \
    RAY_AUTH_MODE=token

COPY docker/laconic.sh /usr/local/bin/laconic
COPY laconic_cli.py /app/
COPY actors /app/actors
COPY cluster /app/cluster
COPY configs /app/configs
COPY dashboard /app/dashboard
COPY evaluation /app/evaluation
COPY learner /app/learner
COPY verifiers /app/verifiers

USER 10001
WORKDIR /home/laconic
CMD ["laconic", "doctor"]
