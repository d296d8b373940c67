// An ordinary application in Go. For each request it asks the agent of its node for an endpoint, sends the
// request there over gRPC, and reports to the agent how it went. It prints a line for each request to each
// of its services:
//
//	WHEN ok SERVICE POD ZONE
//	WHEN failed SERVICE pick|ADDRESS WHY
//
// WHEN is the milliseconds since 1970 at which the request began.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"

	pointsman "caller/pointsman/v1"
)

const (
	pause   = 50 * time.Millisecond
	timeout = time.Second
)

func main() {
	var callers sync.WaitGroup
	agent := pointsman.NewAgentClient(connect(os.Getenv("POINTSMAN_SOCKET")))
	for _, service := range os.Args[1:] {
		callers.Go(func() {
			backends := newBackends()
			for ; ; time.Sleep(pause) {
				fmt.Println(time.Now().UnixMilli(), request(agent, backends, service))
			}
		})
	}
	callers.Wait()
}

func connect(target string) *grpc.ClientConn {
	connection, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	return connection
}

// request returns how it went.
func request(agent pointsman.AgentClient, backends backends, service string) string {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	answer, err := agent.Pick(ctx, &pointsman.PickRequest{Service: service})
	if err != nil {
		return failed(service, "pick", err)
	}
	pick, began := answer.Picks[0], time.Now()
	address := fmt.Sprintf("%s:%d", pick.Address, pick.Port)
	who, failure := backends.call(ctx, address)
	report := &pointsman.Report{
		Lease: pick.Lease, Outcome: outcome(failure), Latency: durationpb.New(time.Since(began)),
	}
	if err := tell(agent, report); err != nil {
		return failed(service, "report", err)
	}
	if failure != nil {
		return failed(service, address, failure)
	}
	return strings.Join([]string{"ok", service, who["pod"].(string), who["zone"].(string)}, " ")
}

// tell has a timeout of its own, because the request may have used up its own.
func tell(agent pointsman.AgentClient, report *pointsman.Report) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	_, err := agent.Report(ctx, &pointsman.ReportRequest{Reports: []*pointsman.Report{report}})
	return err
}

func failed(service, where string, err error) string {
	return strings.Join([]string{"failed", service, where, strings.ReplaceAll(err.Error(), "\n", " ")}, " ")
}
