# syntax=docker/dockerfile:1

# The compiler is the one of rust-toolchain.toml, so that nothing is fetched for it.
FROM rust:1.95.0-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends clang libclang-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The caches keep RocksDB compiled between builds; what is built is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked -p corgi-server \
    && install -D target/release/corgi-server /out/corgi-server

FROM debian:bookworm-slim
# redis-tools: redis-cli for the health check and for people.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libstdc++6 redis-tools \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin corgi \
    && install -d -o corgi -g corgi -m 0700 /data
COPY --from=build /out/corgi-server /usr/local/bin/corgi-server
COPY --chmod=0755 scripts/docker-entrypoint /usr/local/bin/docker-entrypoint
USER corgi
WORKDIR /data
VOLUME /data
ENTRYPOINT ["docker-entrypoint"]
CMD ["--bind", "0.0.0.0", "--dir", "/data"]
