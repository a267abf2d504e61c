# The image of a release, around a binary that is built already: see .goreleaser.yaml. The Dockerfile beside go.mod builds
# from source.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build

FROM scratch
ARG TARGETPLATFORM
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --chown=65532:65532 .ci/release-root/ /
COPY $TARGETPLATFORM/leveret /
ENV LEVERET_DATA_DIR=/data
USER 65532:65532
VOLUME /data
ENTRYPOINT ["/leveret"]
