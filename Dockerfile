# One image for every job: Meltano with its plugins, installed at build time from the hash-pinned locks; nothing is installed at run time.
# The page of the marts has an image of its own, the same and the report: its drawer of charts is as big as tap and target together.
#
#     docker build -t rickandmorty .                            with the page: --target report
#     docker run --rm --read-only --tmpfs /scratch:mode=1777 --env-file .env rickandmorty run character
#
# In production give the base with its digest: --build-arg PYTHON_IMAGE=python:3.13-slim@sha256:…
ARG PYTHON_IMAGE=python:3.13-slim
ARG KESTRA_IMAGE=kestra/kestra:v2.0.0

# --- build: environments and plugins, everything at the place where it will run ------------------------------------------
FROM ${PYTHON_IMAGE} AS build
ENV PATH=/opt/meltano/bin:/opt/uv/bin:$PATH \
    UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never \
    MELTANO_SEND_ANONYMOUS_USAGE_STATS=false
WORKDIR /project
COPY requirements/uv.txt requirements/meltano.txt requirements/
RUN python -m venv /opt/uv \
    && /opt/uv/bin/python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/uv.txt \
    && uv venv --python "$(command -v python)" /opt/meltano \
    && uv pip install --python /opt/meltano/bin/python --require-hashes -r requirements/meltano.txt \
    && rm -f /opt/meltano/.lock
COPY requirements/dbt-bigquery.txt requirements/
COPY plugins/ plugins/
COPY meltano.yml LICENSE ./
# The libraries' own tests, a tenth of the image, stay behind (dbt's include/ holds macros under that name).
# So do babel's locales but English: dbt formats no number in another. dbt comes first: a change of our own code does not install it anew.
RUN meltano --log-level warning install dbt-bigquery \
    && find .meltano -path '*/babel/locale-data/*' ! -name root.dat ! -name 'en*.dat' -delete \
    && find .meltano -type d -path '*/site-packages/*' -name tests ! -path '*/dbt/include/*' -prune -exec rm -r {} +
COPY requirements/tap-rickandmorty.txt requirements/target-bigquery.txt requirements/
COPY tap-rickandmorty/ tap-rickandmorty/
COPY target-bigquery/ target-bigquery/
RUN meltano --log-level warning install --plugin-type extractors \
    && meltano --log-level warning install --plugin-type loaders \
    && find .meltano -type d -path '*/site-packages/*' -name tests ! -path '*/dbt/include/*' -prune -exec rm -r {} + \
    && python -m compileall -q tap-rickandmorty/src target-bigquery/src
# The program of Kestra's flows.
COPY orchestrate/meltano-job/ orchestrate/meltano-job/
RUN uv pip install --python /opt/meltano/bin/python --no-deps ./orchestrate/meltano-job \
    && rm -rf orchestrate /opt/meltano/.lock

FROM build AS report-build
COPY requirements/report.txt requirements/
COPY report/ report/
RUN meltano --log-level warning install report \
    && rm -f .meltano/utilities/report/venv/.lock \
    && find .meltano/utilities/report -type d -path '*/site-packages/*' -name tests -prune -exec rm -r {} + \
    && python -m compileall -q report/src

# What is neither Meltano nor a plugin's environment: a layer of its own.
FROM build AS rest
COPY transform/ transform/
# What a run writes goes to the one writable folder. What installs packages goes, a tenth of the image, and uv's locks, anybody's to write.
RUN /opt/uv/bin/uv pip uninstall --quiet --python /opt/meltano/bin/python pip uv virtualenv \
    && rm -rf /opt/meltano/.lock .meltano/run .meltano/logs .meltano/meltano.db .meltano/cache .meltano/*/*/venv/.lock \
    && mkdir -p /rest/.meltano \
    && ln -s /scratch /rest/.meltano/run \
    && ln -s /scratch /rest/.meltano/logs \
    && mv ./* .meltano/analytics.json /rest/ \
    && mv /rest/analytics.json /rest/.meltano/

# --- the image ----------------------------------------------------------------------------------------------------------
FROM ${PYTHON_IMAGE} AS pipeline
ARG REVISION=unknown
LABEL org.opencontainers.image.title="rickandmorty" \
      org.opencontainers.image.description="Meltano with tap-rickandmorty, target-bigquery and dbt-bigquery" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
# 1777: the image runs under any user id; /scratch is the only folder that a run writes to.
RUN groupadd --gid 10001 meltano \
    && useradd --uid 10001 --gid 10001 --home-dir /scratch --no-create-home --shell /usr/sbin/nologin meltano \
    && install --directory --mode 1777 /scratch
# What changes least comes first.
COPY --from=rest /opt/meltano /opt/meltano
COPY --from=rest /project/.meltano/utilities/dbt-bigquery /project/.meltano/utilities/dbt-bigquery
COPY --from=rest /project/.meltano/loaders /project/.meltano/loaders
COPY --from=rest /project/.meltano/extractors /project/.meltano/extractors
COPY --from=rest /rest /project
ENV PATH=/opt/meltano/bin:$PATH \
    HOME=/scratch TMPDIR=/scratch \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    MELTANO_PROJECT_ROOT=/project MELTANO_PROJECT_READONLY=true MELTANO_AUTO_INSTALL=false MELTANO_VENV_BACKEND=virtualenv \
    MELTANO_ENVIRONMENT=prod MELTANO_CLI_LOG_FORMAT=json MELTANO_SEND_ANONYMOUS_USAGE_STATS=false \
    MELTANO_DATABASE_URI=sqlite:////scratch/meltano.db \
    DBT_TARGET_PATH=/scratch/dbt-target DBT_LOG_PATH=/scratch/dbt-logs
WORKDIR /project
USER 10001:10001
# No health check: a container is one job, and its exit status says how it went.
HEALTHCHECK NONE
ENTRYPOINT ["meltano"]
CMD ["--help"]

# --- report: the image with the page of the marts ------------------------------------------------------------------------
FROM pipeline AS report
COPY --from=report-build /project/.meltano/utilities/report /project/.meltano/utilities/report
COPY --from=report-build /project/report /project/report
ENV REPORT_OUTPUT=/scratch/report.html

# --- laptop: the image with Kestra and the sandbox, for compose.yaml alone ----------------------------------------------
FROM ${KESTRA_IMAGE} AS kestra
FROM build AS sandbox
COPY requirements/sandbox.txt requirements/
COPY sandbox/ /opt/sandbox/source/
# The sandbox looks for it beside its own folder.
COPY entities.yml /opt/sandbox/
RUN uv venv --python "$(command -v python)" /opt/sandbox/venv \
    && uv pip install --python /opt/sandbox/venv/bin/python --require-hashes -r requirements/sandbox.txt \
    && uv pip install --python /opt/sandbox/venv/bin/python --no-deps -e /opt/sandbox/source
FROM pipeline AS laptop
# Java and Kestra are whole in these two folders; Kestra writes its settings below /app.
COPY --from=kestra /opt/java/openjdk /opt/java/openjdk
COPY --from=kestra --chown=10001:10001 /app /app
COPY --from=kestra /usr/local/bin/docker-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
COPY --from=sandbox /opt/sandbox /opt/sandbox
ENV PATH=/opt/java/openjdk/bin:$PATH JAVA_HOME=/opt/java/openjdk \
    MELTANO_ENVIRONMENT=local
ENTRYPOINT ["/opt/sandbox/venv/bin/sandbox", "--home", "/scratch/sandbox", "exec"]
CMD ["--universe", "characters=826,locations=126,episodes=51", "--", "docker-entrypoint.sh", "server", "standalone"]

# --- the image again: what a build without --target gives ---------------------------------------------------------------
FROM pipeline AS run
