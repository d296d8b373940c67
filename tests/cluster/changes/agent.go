package main

import (
	"context"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"

	pointsman "changes/pointsman/v1"
)

// An agent on this machine, and its caller.
type node struct {
	*process
	agent pointsman.AgentClient
}

func startAgent(program, source string) (*node, error) {
	var socket string
	process, err := start(program, func(folder string) []string {
		socket = filepath.Join(folder, "agent.sock")
		return []string{"agent", "--source", source, "--socket", socket, "--admin", "127.0.0.1:0"}
	})
	if err != nil {
		return nil, err
	}
	connection, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	return &node{process, pointsman.NewAgentClient(connection)}, err
}

// pick returns the address for a service's next request.
func (n *node) pick(ctx context.Context, service string) (string, error) {
	answer, err := n.agent.Pick(ctx, &pointsman.PickRequest{
		Service: service + "." + namespace,
		Wait:    durationpb.New(5 * time.Second),
	})
	if err != nil {
		return "", err
	}
	lease := []*pointsman.Report{{Lease: answer.Picks[0].Lease, Outcome: pointsman.Outcome_SUCCESS}}
	go n.agent.Report(ctx, &pointsman.ReportRequest{Reports: lease})
	return answer.Picks[0].Address, nil
}

// follow makes the agent watch a service from now on, as the first pick of it does.
func (n *node) follow(ctx context.Context, service int) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	_, err := n.pick(ctx, serviceName(service))
	return err
}

// watches returns the agent's number of watches: one of all names, and two for each service that it
// follows.
func (n *node) watches(followed int) int { return 1 + 2*followed }
