# Three images from one file: `builder` makes what the others take, `development` has every tool, and `production` (the
# last, so what a plain build gives) holds the service and nothing that could change it.
#
#   docker build --build-arg GIT_SHA="$(git rev-parse HEAD)" --build-arg RELEASE=1.2.3 --tag rupaya .
#   docker build --target development --tag rupaya:development .
#
# Behind a proxy that signs TLS with a certificate of its own, add
#   --secret id=pip_cert,src=/path/to/ca.crt --build-arg PIP_CERT=/run/secrets/pip_cert

ARG PYTHON_VERSION=3.13
FROM python:${PYTHON_VERSION}-slim-trixie AS base
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /app
# By number everywhere, so that Kubernetes and ECS can tell that it is not root. It has a name only because libpq and
# initdb ask for one; it has no home, no shell and owns no file.
RUN groupadd --gid 10001 rupaya \
    && useradd --uid 10001 --gid 10001 --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin rupaya


FROM base AS builder
ARG PIP_CERT
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
# Dependencies come before the code: a change of code installs nothing again. dumb-init is among them, from PyPI rather
# than Debian: a static binary of 9 KB that is locked by hash and needs no `apt-get update`, whose result differs by day.
COPY requirements/production.txt requirements/
# Bytecode is compiled here, for the service may not write it: "unchecked" spares a look at every source file, and does
# not mind that a copied file has another time.
RUN --mount=type=secret,id=pip_cert \
    python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install --no-compile --require-hashes --no-deps \
        --requirement requirements/production.txt \
    && pip --python /opt/venv/bin/python check \
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib \
    # The first process keeps all that the container was told, the owner's password too. A program that its user may not
    # read is one whose memory and environment nobody of that user may read either: Linux sees to that.
    && chmod 711 /opt/venv/bin/dumb-init
COPY manage.py entrypoint.sh gunicorn.conf.py schema.sql ./
COPY rupaya rupaya
COPY accounts accounts
COPY transactions transactions
# The settings of production refuse to load without these. The key is random and gone when the command ends, and the
# database is never asked: .invalid names nothing, by RFC 2606.
# The modes are the image's own, whatever the umask of whoever checked the code out.
RUN RUPAYA_ENV=production \
    SECRET_KEY="$(python -c 'import secrets; print(secrets.token_urlsafe(50))')" \
    ALLOWED_HOSTS=build.invalid \
    DATABASE_URL=postgresql://nobody@build.invalid/nothing \
    python manage.py collectstatic --noinput \
    && rm -r requirements \
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash . \
    && chmod -R u=rwX,go=rX . \
    && chmod 755 entrypoint.sh manage.py


# Everything that `make test` and `make lint` need. Mount the tree to work in it:
#   docker run --rm --interactive --tty --volume "$PWD:/app" rupaya:development python -m pytest
# Without DATABASE_URL it serves beside an embedded PostgreSQL, whose data is gone with the container.
FROM base AS development
ARG PIP_CERT
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    RUPAYA_ENV=development \
    BIND_ADDRESS=0.0.0.0
COPY requirements/dev.txt requirements/
RUN --mount=type=secret,id=pip_cert \
    python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install --require-hashes --no-deps --requirement requirements/dev.txt \
    && pip --python /opt/venv/bin/python check \
    && install -d -o 10001 -g 10001 .data
COPY . .
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
ENTRYPOINT ["dumb-init", "--"]
CMD ["python", "-m", "rupaya.localdb", "run", "./entrypoint.sh", "gunicorn", "rupaya.wsgi"]


FROM base AS production
# The official image ships Python's own library without bytecode; a service that may not write would compile it anew at
# every start. Nothing is ever installed here, so pip goes.
RUN python -m compileall -q -j 0 --invalidation-mode unchecked-hash \
        -x '/(site-packages|test|tests|idlelib|tkinter|turtledemo|ensurepip|lib2to3|pydoc_data)/' \
        "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
    && python -m pip uninstall --yes --quiet --root-user-action=ignore pip
COPY --from=builder /opt/venv /opt/venv
COPY --from=builder /app /app
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# As PID 1 it reaps orphans and hands SIGTERM to the shell, migrate and the server alike.
ENTRYPOINT ["dumb-init", "--", "./entrypoint.sh"]
CMD ["gunicorn", "rupaya.wsgi"]
# Whether the process answers, not whether it is ready: restarting the service mends no database. Nothing listens while
# migrations run; it then passes for as long as migrate's heartbeat is fresh. (ECS reads only its task definition, which
# must name the same command.)
HEALTHCHECK --start-period=10s --interval=5s --timeout=3s --retries=3 CMD ["python", "-m", "rupaya.health.command"]
# Last, for they differ in every build: everything above comes from the cache.
ARG GIT_SHA=unknown
ARG RELEASE=unknown
# A task may write nowhere else, and Python wants a place for temporary files.
ENV RUPAYA_ENV=production \
    BIND_ADDRESS=0.0.0.0 \
    TMPDIR=/dev/shm \
    GIT_SHA=${GIT_SHA} \
    RELEASE=${RELEASE}
LABEL org.opencontainers.image.title="rupaya" \
      org.opencontainers.image.description="The schema service of the Rupaya money manager: migrate PostgreSQL safely, then serve." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.revision="${GIT_SHA}" \
      org.opencontainers.image.version="${RELEASE}"
