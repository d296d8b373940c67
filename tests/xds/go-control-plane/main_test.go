package main

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// The program is this one, too.
func TestMain(m *testing.M) {
	if os.Getenv("SERVES") != "" {
		main()
	}
	os.Exit(m.Run())
}

const before = `{"services": [
	{"name": "echo.shop:8080", "endpoints": [
		{"address": "127.0.0.1:1", "zone": "a", "weight": 3},
		{"address": "127.0.0.1:2", "zone": "b", "priority": 1, "health": "DRAINING"}]},
	{"name": "other.shop:8080", "endpoints": []}]}`
const after = `{"services": [{"name": "echo.shop:8080", "endpoints": [{"address": "[::1]:3"}]}]}`

// What the program prints, line by line.
type said struct {
	t     *testing.T
	lines chan string
}

func (said said) next() string {
	said.t.Helper()
	select {
	case line := <-said.lines:
		return line
	case <-time.After(5 * time.Second):
		said.t.Fatal("it said nothing for 5 s")
		return ""
	}
}

// start serves `before`. Returns the path of the file, what the program says, and a client.
func start(t *testing.T, address string) (string, said, discovery.AggregatedDiscoveryServiceClient) {
	file := filepath.Join(t.TempDir(), "services.json")
	write(t, file, before)
	command := exec.Command(os.Args[0], address, file)
	command.Env = append(os.Environ(), "SERVES=1")
	command.Stderr = os.Stderr
	out, err := command.StdoutPipe()
	check(t, err)
	check(t, command.Start())
	t.Cleanup(func() { command.Process.Kill(); command.Wait() })
	said := said{t, make(chan string, 100)}
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			said.lines <- lines.Text()
		}
	}()
	at, ok := strings.CutPrefix(said.next(), "listening ")
	if !ok {
		t.Fatal(at)
	}
	connection, err := grpc.NewClient(at, grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(t, err)
	t.Cleanup(func() { connection.Close() })
	return file, said, discovery.NewAggregatedDiscoveryServiceClient(connection)
}

func write(t *testing.T, file, content string) {
	check(t, os.WriteFile(file+".new", []byte(content), 0o600))
	check(t, os.Rename(file+".new", file))
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestStateOfTheWorld(t *testing.T) {
	file, said, client := start(t, "127.0.0.1:0")
	stream, err := client.StreamAggregatedResources(limited(t))
	check(t, err)
	node := &core.Node{Id: "me"}
	// Nobody answers this one, and the stream goes on.
	check(t, stream.Send(&discovery.DiscoveryRequest{Node: node, TypeUrl: resource.ListenerType}))
	check(t, stream.Send(&discovery.DiscoveryRequest{TypeUrl: resource.ClusterType}))
	answer, err := stream.Recv()
	check(t, err)
	if answer.TypeUrl != resource.ClusterType || len(answer.Resources) != 2 {
		t.Fatal(answer)
	}

	name := []string{"echo.shop:8080"}
	check(t, stream.Send(&discovery.DiscoveryRequest{TypeUrl: resource.EndpointType, ResourceNames: name}))
	answer, err = stream.Recv()
	check(t, err)
	var assignment endpoint.ClusterLoadAssignment
	if len(answer.Resources) != 1 {
		t.Fatal(answer)
	}
	check(t, answer.Resources[0].UnmarshalTo(&assignment))
	first, second := assignment.Endpoints[0], assignment.Endpoints[1]
	if first.Locality.Zone != "a" || first.LoadBalancingWeight.Value != 3 || first.Priority != 0 ||
		second.Locality.Zone != "b" || second.LoadBalancingWeight.Value != 1 || second.Priority != 1 ||
		second.LbEndpoints[0].HealthStatus != core.HealthStatus_DRAINING {
		t.Fatal(&assignment)
	}

	why := &status.Status{Message: "no\nthanks"}
	check(t, stream.Send(&discovery.DiscoveryRequest{
		TypeUrl: resource.EndpointType, ResourceNames: name, ResponseNonce: answer.Nonce, ErrorDetail: why,
	}))
	if line := said.next(); line != "rejected ClusterLoadAssignment nonce "+answer.Nonce+" node me no thanks" {
		t.Fatal(line)
	}

	write(t, file, after)
	for len(assignment.Endpoints) != 1 {
		answer, err = stream.Recv()
		check(t, err)
		if answer.TypeUrl != resource.EndpointType {
			continue
		}
		check(t, stream.Send(&discovery.DiscoveryRequest{
			TypeUrl: answer.TypeUrl, ResourceNames: name, ResponseNonce: answer.Nonce, VersionInfo: answer.VersionInfo,
		}))
		// It answers a rejection without a version at once, with nothing.
		if len(answer.Resources) == 1 {
			check(t, answer.Resources[0].UnmarshalTo(&assignment))
		}
	}
	if address := assignment.Endpoints[0].LbEndpoints[0].GetEndpoint().Address.GetSocketAddress(); address.Address != "::1" {
		t.Fatal(address)
	}
}

func TestDelta(t *testing.T) {
	file, said, client := start(t, "unix://"+filepath.Join(t.TempDir(), "socket"))
	stream, err := client.DeltaAggregatedResources(limited(t))
	check(t, err)
	names := []string{"echo.shop:8080", "other.shop:8080"}
	check(t, stream.Send(&discovery.DeltaDiscoveryRequest{
		Node: &core.Node{Id: "me"}, TypeUrl: resource.EndpointType, ResourceNamesSubscribe: names,
	}))
	answer, err := stream.Recv()
	check(t, err)
	if len(answer.Resources) != 2 || len(answer.RemovedResources) != 0 {
		t.Fatal(answer)
	}
	check(t, stream.Send(&discovery.DeltaDiscoveryRequest{
		TypeUrl: resource.EndpointType, ResponseNonce: answer.Nonce, ErrorDetail: &status.Status{Message: "no"},
	}))
	if line := said.next(); line != "rejected ClusterLoadAssignment nonce "+answer.Nonce+" node me no" {
		t.Fatal(line)
	}

	// A wrong file changes nothing.
	write(t, file, `{"services": [{"name": "echo.shop:8080", "endpoints": [{"adress": "127.0.0.1:1"}]}]}`)
	time.Sleep(3 * pause)
	write(t, file, after)
	answer, err = stream.Recv()
	check(t, err)
	if len(answer.Resources) != 1 || answer.Resources[0].Name != names[0] ||
		len(answer.RemovedResources) != 1 || answer.RemovedResources[0] != names[1] {
		t.Fatal(answer)
	}
}
