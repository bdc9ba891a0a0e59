# One static binary and nothing else. Built with BuildKit (`make image`), for any platform that Go knows:
#   docker buildx build --platform linux/amd64,linux/arm64 .
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG TARGETOS TARGETARCH VERSION=devel
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o /hairpin ./cmd/hairpin

FROM scratch
ARG VERSION=devel
LABEL org.opencontainers.image.title="hairpin" \
      org.opencontainers.image.description="A TURN server in which two clients meet" \
      org.opencontainers.image.source="https://github.com/hairpin-turn/hairpin" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION"
COPY --from=build /hairpin /hairpin
USER 65532:65532
EXPOSE 3478/udp 3478/tcp
# The check asks the admin address: another one than the default is set as HAIRPIN_ADMIN, which both processes read.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["/hairpin", "status", "--health"]
ENTRYPOINT ["/hairpin"]
CMD ["serve"]
