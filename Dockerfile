# One image for the five services; the command chooses: `python -m services.ingest`, `beckon migrate`.
FROM python:3.11-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv /opt/beckon
ENV PATH=/opt/beckon/bin:$PATH
# First what changes seldom: every package by version and hash, from wheels only.
COPY requirements/run.txt requirements/
RUN pip install --require-hashes --only-binary :all: --requirement requirements/run.txt
# What builds our own wheel, by hash as well, in an environment that stays behind.
COPY requirements/dev.txt requirements/
RUN python -m venv /opt/builder \
    && sed -n '/^setuptools==/,/[^\\]$/p' requirements/dev.txt > /tmp/setuptools.txt \
    && /opt/builder/bin/pip install --require-hashes --only-binary :all: --requirement /tmp/setuptools.txt
COPY pyproject.toml LICENSE ./
COPY gen gen
COPY mesh mesh
COPY services services
COPY stack stack
COPY cli cli
RUN /opt/builder/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /tmp/wheel . \
    && pip install --no-deps --no-index /tmp/wheel/*.whl

FROM python:3.11-slim
ENV PATH=/opt/beckon/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY --from=build /opt/beckon /opt/beckon
# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
WORKDIR /tmp
EXPOSE 50051-50055 50151-50155
CMD ["beckon", "--help"]
