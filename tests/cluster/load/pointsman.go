package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	pointsman "load/pointsman/v1"
)

// Asks the agent of its node for each call, and keeps one connection to each pod that it was given.
type picking struct {
	service string
	agent   pointsman.AgentClient

	lock        sync.Mutex
	connections map[string]*grpc.ClientConn
}

func byAgent(service string) (caller, error) {
	connection, err := connect(os.Getenv("POINTSMAN_SOCKET"))
	if err != nil {
		return nil, err
	}
	return &picking{
		service:     service,
		agent:       pointsman.NewAgentClient(connection),
		connections: map[string]*grpc.ClientConn{},
	}, nil
}

func (p *picking) call(ctx context.Context) (metadata.MD, error) {
	answer, err := p.agent.Pick(ctx, &pointsman.PickRequest{Service: p.service})
	if err != nil {
		return nil, err
	}
	pick := answer.Picks[0]
	connection, err := p.connection(net.JoinHostPort(pick.Address, fmt.Sprint(pick.Port)))
	if err != nil {
		return nil, err
	}
	began := time.Now()
	pod, err := who(ctx, connection)
	report := &pointsman.Report{
		Lease:   pick.Lease,
		Outcome: outcome(err),
		Latency: durationpb.New(time.Since(began)),
	}
	go p.report(report)
	return pod, err
}

// Nobody waits for it. A lost report does no harm, because the lease expires.
func (p *picking) report(report *pointsman.Report) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	p.agent.Report(ctx, &pointsman.ReportRequest{Reports: []*pointsman.Report{report}})
}

func outcome(err error) pointsman.Outcome {
	switch status.Code(err) {
	case codes.OK:
		return pointsman.Outcome_SUCCESS
	case codes.Unavailable:
		return pointsman.Outcome_UNREACHABLE
	case codes.DeadlineExceeded:
		return pointsman.Outcome_EXPIRED
	}
	return pointsman.Outcome_FAILURE
}

// A program that runs for longer should also close connections to pods that it no longer gets.
func (p *picking) connection(address string) (*grpc.ClientConn, error) {
	p.lock.Lock()
	defer p.lock.Unlock()
	if connection, ok := p.connections[address]; ok {
		return connection, nil
	}
	connection, err := connect("passthrough:///" + address)
	if err == nil {
		p.connections[address] = connection
	}
	return connection, err
}
