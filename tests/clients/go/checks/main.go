// gRPC: the details of an error, a deadline, a watch.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	pointsman "example/pointsman/v1"
)

func connect(variable string) pointsman.AgentClient {
	insecure := grpc.WithTransportCredentials(insecure.NewCredentials())
	connection, err := grpc.NewClient(os.Getenv(variable), insecure)
	if err != nil {
		log.Fatal(err)
	}
	return pointsman.NewAgentClient(connection)
}

func code(err error) string {
	return map[string]string{"NotFound": "NOT_FOUND", "DeadlineExceeded": "DEADLINE_EXCEEDED"}[status.Code(err).String()]
}

func info(err error) *errdetails.ErrorInfo {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info
		}
	}
	return &errdetails.ErrorInfo{}
}

func main() {
	ctx := context.Background()
	agent, silent := connect("POINTSMAN_SOCKET"), connect("POINTSMAN_SILENT_SOCKET")

	_, err := agent.Pick(ctx, &pointsman.PickRequest{Service: "crat.shop"})
	fmt.Println("error", code(err), info(err).Reason, info(err).Metadata["near"])

	short := durationpb.New(200 * time.Millisecond)
	_, err = silent.Pick(ctx, &pointsman.PickRequest{Service: "cart.shop", Wait: short})
	fmt.Println("wait", code(err), info(err).Reason)

	began := time.Now()
	limited, cancel := context.WithDeadline(ctx, began.Add(500*time.Millisecond))
	defer cancel()
	long := durationpb.New(5 * time.Second)
	_, err = silent.Pick(limited, &pointsman.PickRequest{Service: "cart.shop", Wait: long})
	fmt.Println("deadline", code(err), time.Since(began).Milliseconds(), "ms")

	watch, err := agent.WatchService(ctx, &pointsman.WatchServiceRequest{Service: "changing.shop"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print("watch")
	for range 2 {
		event, err := watch.Recv()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Print(" ", event.Type)
	}
	fmt.Println()
}
