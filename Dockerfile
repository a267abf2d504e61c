# One file for all binaries. Each is a target: docker build --target orderd .
#
# The final images contain the binary, CA certificates, and the folders /data, /certs and /tmp: no shell, no packages,
# no root. That of the CLI also has the folders in which docker-compose.yml has it write definitions and passwords.
# They can be built with or without BuildKit. To use a module proxy, pass --build-arg GOPROXY=….

FROM golang:1.26 AS build
ARG GOPROXY
ENV CGO_ENABLED=0
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
# Compile the largest dependencies, which take most of the time, in a separate layer, so that not every change repeats it.
RUN go build -trimpath modernc.org/sqlite github.com/pressly/goose/v3 github.com/spf13/viper github.com/expr-lang/expr \
    go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp go.opentelemetry.io/otel/exporters/prometheus \
    google.golang.org/grpc github.com/getkin/kin-openapi/openapi3
COPY . .
# If the context contains the .git folder, the binaries know their version; otherwise it is "devel".
RUN git status >/dev/null 2>&1 && stamp=true || stamp=false; \
    mkdir -p /out/bin /out/root/data /out/root/certs /out/root/tmp && chmod 1777 /out/root/tmp && \
    for user in auth gateway inventory notify operator order payment user; do mkdir -p /out/leveret/passwords/$user; done && \
    mkdir -p /out/leveret/definitions && \
    go build -trimpath -buildvcs=$stamp -ldflags="-s -w" -o /out/bin/ ./cmd/...

FROM scratch AS base
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build --chown=65532:65532 /out/root/ /
ENV LEVERET_DATA_DIR=/data
USER 65532:65532
VOLUME /data

FROM base AS leveret
COPY --from=build --chown=65532:65532 /out/leveret/ /
COPY --from=build /out/bin/leveret /
ENTRYPOINT ["/leveret"]

FROM base AS gatewayd
COPY --from=build /out/bin/gatewayd /
ENTRYPOINT ["/gatewayd"]

FROM base AS orderd
COPY --from=build /out/bin/orderd /
ENTRYPOINT ["/orderd"]

FROM base AS paymentd
COPY --from=build /out/bin/paymentd /
ENTRYPOINT ["/paymentd"]

FROM base AS inventoryd
COPY --from=build /out/bin/inventoryd /
ENTRYPOINT ["/inventoryd"]

FROM base AS userd
COPY --from=build /out/bin/userd /
ENTRYPOINT ["/userd"]

FROM base AS authd
COPY --from=build /out/bin/authd /
ENTRYPOINT ["/authd"]

FROM base AS notifyd
COPY --from=build /out/bin/notifyd /
ENTRYPOINT ["/notifyd"]
