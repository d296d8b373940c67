// A server of go-control-plane that writes down what it and its one client say: the bytes of each message, with
// their length before them as a varint, in the order of a file's direction.
//
//	record ADDRESS NODE REQUESTS RESPONSES
//
// It serves what content.go says to the client whose node has this id, by either variant of the protocol. It prints
// "listening ADDRESS" once, and ends when the client has said all of this: it accepted resources of each type, rejected
// one, accepted a removal, and told a new stream what it had.
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"log"
	"net"
	"os"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// How long it waits for what the client should say.
const patience = 30 * time.Second

// What a request says, of either variant.
type request interface {
	GetTypeUrl() string
	GetResponseNonce() string
}

// recorder is a codec that writes down all that it reads and writes.
type recorder struct {
	encoding.CodecV2
	requests, responses *bufio.Writer
	seen                chan request
}

func record(to *bufio.Writer, message []byte) {
	to.Write(binary.AppendUvarint(nil, uint64(len(message))))
	to.Write(message)
}

func (recorder recorder) Unmarshal(data mem.BufferSlice, message any) error {
	record(recorder.requests, data.Materialize())
	err := recorder.CodecV2.Unmarshal(data, message)
	if request, ok := message.(request); ok && err == nil {
		recorder.seen <- request
	}
	return err
}

func (recorder recorder) Marshal(message any) (mem.BufferSlice, error) {
	data, err := recorder.CodecV2.Marshal(message)
	if err == nil {
		record(recorder.responses, data.Materialize())
	}
	return data, err
}

// rejected says whether a request rejects a response.
func rejected(seen request) bool {
	switch seen := seen.(type) {
	case *discovery.DiscoveryRequest:
		return seen.ErrorDetail != nil
	case *discovery.DeltaDiscoveryRequest:
		return seen.ErrorDetail != nil
	}
	return false
}

// await reads requests until one of each of the types is as wanted.
func (recorder recorder) await(what string, wanted func(request) bool, types ...string) {
	missing := map[string]bool{}
	for _, url := range types {
		missing[url] = true
	}
	late := time.After(patience)
	for len(missing) > 0 {
		select {
		case seen := <-recorder.seen:
			if wanted(seen) {
				delete(missing, seen.GetTypeUrl())
			}
		case <-late:
			log.Fatalf("%s: nothing came for %v", what, missing)
		}
	}
}

func accepted(seen request) bool { return seen.GetResponseNonce() != "" && !rejected(seen) }
func first(seen request) bool    { return seen.GetResponseNonce() == "" }

func main() {
	if len(os.Args) != 5 {
		log.Fatal("usage: record ADDRESS NODE REQUESTS RESPONSES")
	}
	address, node := os.Args[1], os.Args[2]
	recorder := recorder{CodecV2: encoding.GetCodecV2("proto"), seen: make(chan request, 1000)}
	for path, to := range map[string]**bufio.Writer{os.Args[3]: &recorder.requests, os.Args[4]: &recorder.responses} {
		file, err := os.Create(path)
		if err != nil {
			log.Fatal(err)
		}
		*to = bufio.NewWriter(file)
	}

	snapshots := cache.NewSnapshotCache(false, cache.IDHash{}, nil)
	serve := func(state int) {
		if err := snapshots.SetSnapshot(context.Background(), node, snapshot(state)); err != nil {
			log.Fatal(err)
		}
	}
	start := func() *grpc.Server {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			log.Fatal(err)
		}
		address = listener.Addr().String()
		streams := grpc.NewServer(grpc.ForceServerCodecV2(recorder))
		discovery.RegisterAggregatedDiscoveryServiceServer(streams,
			server.NewServer(context.Background(), snapshots, nil))
		go streams.Serve(listener)
		return streams
	}

	types := []string{resource.ClusterType, resource.EndpointType, resource.ListenerType, resource.RouteType}
	serve(all)
	streams := start()
	fmt.Println("listening", address)
	recorder.await("accept", accepted, types...)
	serve(refused)
	recorder.await("reject", rejected, resource.ClusterType)
	serve(less)
	recorder.await("accept a removal", accepted, resource.ClusterType)
	streams.Stop()
	for len(recorder.seen) > 0 {
		<-recorder.seen
	}
	start()
	recorder.await("come again", first, types...)
	// Nothing more is written: the bytes of a message that comes now would be cut.
	if recorder.requests.Flush() != nil || recorder.responses.Flush() != nil {
		log.Fatal("the files can't be written")
	}
}
