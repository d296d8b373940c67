package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"

	pointsman "changes/pointsman/v1"
)

func init() { runtime.LockOSThread() }

// An agent on this machine, and its caller.
type node struct {
	process *exec.Cmd
	folder  string
	agent   pointsman.AgentClient
}

func startAgent(program, kubeconfig string) (*node, error) {
	folder, err := os.MkdirTemp("", "changes")
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(folder, "agent.sock")
	process := exec.Command(program, "agent", "--source", "kubernetes:kubeconfig="+kubeconfig, "--socket", socket, "--admin", "127.0.0.1:0")
	process.Stderr, err = os.Create(filepath.Join(folder, "log"))
	if err != nil {
		return nil, err
	}
	// init makes this the program's first thread. The agent ends with it for any reason.
	process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := process.Start(); err != nil {
		return nil, err
	}
	connection, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	return &node{process, folder, pointsman.NewAgentClient(connection)}, err
}

func (n *node) end() {
	n.process.Process.Kill()
	n.process.Wait()
	os.RemoveAll(n.folder)
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

// memory returns the agent's resident memory, in bytes.
func (n *node) memory() (int, error) {
	sizes, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", n.process.Process.Pid))
	if err != nil {
		return 0, err
	}
	var size, resident int
	_, err = fmt.Sscan(string(sizes), &size, &resident)
	return resident * os.Getpagesize(), err
}

// watches returns the agent's number of watches: one of all names, and two for each service that it
// follows.
func (n *node) watches(followed int) int { return 1 + 2*followed }
