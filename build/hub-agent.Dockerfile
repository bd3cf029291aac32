# The hub agent alone: a static binary, nothing else to patch. The build context is a folder that holds it:
#   CGO_ENABLED=0 GOOS=linux go build -trimpath -o out/image/ ./cmd/hubagent
#   docker build -f build/hub-agent.Dockerfile -t hub-agent out/image
FROM scratch
COPY hubagent /hubagent
USER 65532:65532
ENTRYPOINT ["/hubagent"]
