// A control plane of go-control-plane, the library of Envoy's project: it serves clusters and their endpoints (CDS and EDS
// over ADS, state of the world and incremental), so that a client is tried against another server than ours.
//
//	go-control-plane ADDRESS FILE
//
// ADDRESS is IP:PORT or unix:///PATH. It prints "listening ADDRESS" once, and a line for each response that a client
// rejects. services.go says what is in FILE, which is read again when it has changed.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// How often it looks whether the file has changed.
const pause = 20 * time.Millisecond

type control struct {
	clusters, assignments *cache.LinearCache
}

// serve tells a cache what differs from what it has: a resource that is as before keeps its version.
func serve(linear *cache.LinearCache, wanted map[string]types.Resource) error {
	changed := map[string]types.Resource{}
	var gone []string
	has := linear.GetResources()
	for name, resource := range wanted {
		if had, ok := has[name]; !ok || !proto.Equal(had, resource) {
			changed[name] = resource
		}
	}
	for name := range has {
		if _, ok := wanted[name]; !ok {
			gone = append(gone, name)
		}
	}
	if len(changed) == 0 && len(gone) == 0 {
		return nil
	}
	return linear.UpdateResources(changed, gone)
}

func (control control) load(content []byte) error {
	clusters, assignments, err := resources(content)
	if err != nil {
		return err
	}
	if err := serve(control.clusters, clusters); err != nil {
		return err
	}
	return serve(control.assignments, assignments)
}

// follow serves what the file says from now on. A wrong file changes nothing.
func (control control) follow(path, before string) {
	for {
		time.Sleep(pause)
		content, err := os.ReadFile(path)
		if err == nil && string(content) != before {
			before = string(content)
			err = control.load(content)
		}
		if err != nil {
			log.Print(err)
		}
	}
}

// cache is of both types. Other types have no resources, and get no answer.
func (control control) cache() cache.Cache {
	kind := func(url string) string {
		if url == resource.ClusterType || url == resource.EndpointType {
			return url
		}
		return ""
	}
	return &cache.MuxCache{
		Classify:      func(request *cache.Request) string { return kind(request.TypeUrl) },
		ClassifyDelta: func(request *cache.DeltaRequest) string { return kind(request.TypeUrl) },
		Caches: map[string]cache.Cache{
			resource.ClusterType:  control.clusters,
			resource.EndpointType: control.assignments,
			"":                    cache.NewSnapshotCache(true, cache.IDHash{}, nil),
		},
	}
}

// rejections prints what clients reject. A client has to name its node only in a stream's first request.
func rejections() server.Callbacks {
	var nodes sync.Map
	said := func(stream int64, node *core.Node, url, nonce string, why *status.Status) {
		if node != nil {
			nodes.Store(stream, node.Id)
		}
		if why != nil {
			id, _ := nodes.Load(stream)
			kind := url[strings.LastIndex(url, ".")+1:]
			fmt.Println("rejected", kind, "nonce", nonce, "node", id, strings.Join(strings.Fields(why.Message), " "))
		}
	}
	return server.CallbackFuncs{
		StreamRequestFunc: func(stream int64, request *discovery.DiscoveryRequest) error {
			said(stream, request.Node, request.TypeUrl, request.ResponseNonce, request.ErrorDetail)
			return nil
		},
		StreamClosedFunc: func(stream int64, _ *core.Node) { nodes.Delete(stream) },
		// Both kinds of streams count from 1.
		StreamDeltaRequestFunc: func(stream int64, request *discovery.DeltaDiscoveryRequest) error {
			said(-stream, request.Node, request.TypeUrl, request.ResponseNonce, request.ErrorDetail)
			return nil
		},
		DeltaStreamClosedFunc: func(stream int64, _ *core.Node) { nodes.Delete(-stream) },
	}
}

// listen returns the address as the client needs it, too.
func listen(address string) (net.Listener, string, error) {
	if path, ok := strings.CutPrefix(address, "unix://"); ok {
		// Of an earlier one that was killed.
		os.Remove(path)
		listener, err := net.Listen("unix", path)
		return listener, address, err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, "", err
	}
	return listener, listener.Addr().String(), nil
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: go-control-plane ADDRESS FILE")
	}
	content, err := os.ReadFile(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	// A restarted server must not use a version again for something else.
	prefix := cache.WithVersionPrefix(fmt.Sprintf("%d-", time.Now().UnixNano()))
	control := control{
		cache.NewLinearCache(resource.ClusterType, prefix),
		cache.NewLinearCache(resource.EndpointType, prefix),
	}
	if err := control.load(content); err != nil {
		log.Fatal(err)
	}
	listener, address, err := listen(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	go control.follow(os.Args[2], string(content))

	streams := grpc.NewServer()
	discovery.RegisterAggregatedDiscoveryServiceServer(streams,
		server.NewServer(context.Background(), control.cache(), rejections()))
	fmt.Println("listening", address)
	log.Fatal(streams.Serve(listener))
}
