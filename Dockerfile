# One static binary in an empty image, for any platform that Go knows. Two ways lead to the same image:
#
#   make image            compiles within the build; needs BuildKit and a registry that has golang
#   make image-prebuilt   puts in a binary that Go compiled outside; needs neither
#
# For several platforms: docker buildx build --platform linux/amd64,linux/arm64 .
#
# The stages that need nothing from outside come first: the classic builder works through every stage above its target.

# What holds for the image whichever way the binary comes.
FROM scratch AS image
ARG VERSION=devel
ARG REVISION=unknown
LABEL org.opencontainers.image.title="hairpin" \
      org.opencontainers.image.description="A TURN server in which two clients meet" \
      org.opencontainers.image.source="https://github.com/hairpin-turn/hairpin" \
      org.opencontainers.image.documentation="https://github.com/hairpin-turn/hairpin/tree/main/deploy/docker" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
USER 65532:65532
EXPOSE 3478/udp 3478/tcp
# The check asks the admin address: another one than the default is set as HAIRPIN_ADMIN, which both processes read.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["/hairpin", "status", "--health"]
ENTRYPOINT ["/hairpin"]
CMD ["serve"]

FROM image AS prebuilt
COPY hairpin /hairpin

# The demonstration's application server, to be run beside the relay.
FROM scratch AS one2one-image
ARG VERSION=devel
ARG REVISION=unknown
LABEL org.opencontainers.image.title="one2one" \
      org.opencontainers.image.description="A video call between two browsers through hairpin" \
      org.opencontainers.image.source="https://github.com/hairpin-turn/hairpin" \
      org.opencontainers.image.documentation="https://github.com/hairpin-turn/hairpin/tree/main/cmd/one2one" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
USER 65532:65532
ENV ONE2ONE_ADDRESS=0.0.0.0:8443
EXPOSE 8443/tcp
ENTRYPOINT ["/one2one"]

FROM one2one-image AS one2one-prebuilt
COPY one2one /one2one

FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG TARGETOS TARGETARCH VERSION=devel
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -tags urfave_cli_no_docs,nethttpomithttp2 -gcflags=all=-l -gcflags=net/netip= -gcflags=encoding/binary= -gcflags=github.com/hairpin-turn/hairpin/relay/forward= -gcflags=github.com/hairpin-turn/hairpin/relay/udp= -gcflags=github.com/hairpin-turn/hairpin/relay/allocation= -gcflags=github.com/hairpin-turn/hairpin/relay/wire= -gcflags=github.com/hairpin-turn/hairpin/relay/stream= -gcflags=github.com/hairpin-turn/hairpin/relay/quality= -ldflags "-s -w -funcalign=8 -X main.version=$VERSION" -o / ./cmd/hairpin ./cmd/one2one

FROM one2one-image AS one2one
COPY --from=build /one2one /one2one

FROM image
COPY --from=build /hairpin /hairpin
