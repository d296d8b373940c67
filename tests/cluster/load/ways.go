package main

import (
	"context"
	"fmt"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// A client of the application. It calls the application, and returns which pod answered.
type caller interface {
	call(context.Context) (metadata.MD, error)
}

func newCaller(way, target string, connections int) (caller, error) {
	switch way {
	case "connections":
		return toOneAddress(target, connections)
	case "round_robin":
		return byDNS(target)
	case "pointsman":
		return byAgent(target)
	}
	return nil, fmt.Errorf("no way %q", way)
}

// Long-lived connections to one address, such as a Service's, used in turn. Each leads to the pod that it
// got when it was opened.
type inTurn struct {
	connections []*grpc.ClientConn
	calls       atomic.Uint64
}

func toOneAddress(address string, count int) (caller, error) {
	c := &inTurn{}
	for range count {
		connection, err := connect("passthrough:///" + address)
		if err != nil {
			return nil, err
		}
		connection.Connect()
		c.connections = append(c.connections, connection)
	}
	return c, nil
}

func (c *inTurn) call(ctx context.Context) (metadata.MD, error) {
	turn := c.calls.Add(1) % uint64(len(c.connections))
	return who(ctx, c.connections[turn])
}

// All addresses of a DNS name, in turn, by gRPC's own round_robin.
func byDNS(name string) (caller, error) {
	connection, err := connect("dns:///"+name,
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`))
	if err != nil {
		return nil, err
	}
	connection.Connect()
	return &inTurn{connections: []*grpc.ClientConn{connection}}, nil
}

func connect(target string, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	return grpc.NewClient(target, append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
}

func who(ctx context.Context, connection *grpc.ClientConn) (metadata.MD, error) {
	var pod metadata.MD
	err := connection.Invoke(ctx, "/test.App/Who", &emptypb.Empty{}, &structpb.Struct{}, grpc.Header(&pod))
	return pod, err
}
