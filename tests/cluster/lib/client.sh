# shellcheck shell=bash
# A Go program that asks the agent, with the messages of ../../proto.

# build_client FOLDER PROGRAM: builds the program of the current folder in FOLDER, because the build
# generates files
build_client() {
  local proto
  proto=$(realpath ../../../proto)
  cp go.mod go.sum ./*.go "$1"
  (
    cd "$1" || exit
    export GOBIN=$1/bin GOFLAGS=-mod=readonly CGO_ENABLED=0
    nice go install tool
    PATH=$GOBIN:$PATH protoc --proto_path="$proto" --go_out=. --go_opt=paths=source_relative \
      --go-grpc_out=. --go-grpc_opt=paths=source_relative pointsman/v1/agent.proto
    nice go build -trimpath -ldflags '-s -w' -o "$2" .
  )
}
