package main

import (
	"context"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"google.golang.org/grpc"
)

// endOnSIGTERM exits at once if the time to drain is 0. Otherwise it serves for that time, because clients
// learn of the end late. Only then it accepts no more connections.
func endOnSIGTERM(drain time.Duration, ready *readiness, web *http.Server, rpc *grpc.Server) {
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	<-terminated
	if drain > 0 {
		ready.set(false)
		time.Sleep(drain)
		finish(web, rpc)
	}
	os.Exit(0)
}

// finish answers open requests of both protocols, for five seconds at most.
func finish(web *http.Server, rpc *grpc.Server) {
	limit, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		rpc.GracefulStop()
		close(ended)
	}()
	web.Shutdown(limit)
	select {
	case <-ended:
	case <-limit.Done():
	}
}
