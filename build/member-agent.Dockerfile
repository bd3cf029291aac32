# The member agent alone: a static binary, nothing else to patch. The build context is a folder that holds it:
#   CGO_ENABLED=0 GOOS=linux go build -trimpath -o out/image/ ./cmd/memberagent
#   docker build -f build/member-agent.Dockerfile -t member-agent out/image
FROM scratch
COPY memberagent /memberagent
USER 65532:65532
ENTRYPOINT ["/memberagent"]
