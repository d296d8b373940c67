// An application to balance on a real cluster. Over HTTP and gRPC it answers which pod it is, with a given
// latency and number of workers. On SIGTERM it drains or just exits, as real applications do.
package main

import (
	"flag"
	"log"
	"net"
	"net/http"
)

func main() {
	httpAddress := flag.String("http", ":8080", "where HTTP is served")
	grpcAddress := flag.String("grpc", ":9090", "where gRPC is served")
	latency := flag.Duration("latency", 0, "how long a request takes, once a worker has it")
	workers := flag.Int("workers", 0, "how many requests are worked on at a time; 0 is any number")
	drain := flag.Duration("drain", 0, "how long to go on after SIGTERM, unready; 0 is not at all")
	flag.Parse()

	work := newWork(*latency, *workers)
	ready := newReadiness()
	web := &http.Server{Handler: overHTTP(work, ready)}
	rpc := overGRPC(work, ready)
	serve(*httpAddress, web.Serve)
	serve(*grpcAddress, rpc.Serve)
	endOnSIGTERM(*drain, ready, web, rpc)
}

// serve listens, or fails, before it returns.
func serve(address string, accept func(net.Listener) error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		if err := accept(listener); err != nil && err != http.ErrServerClosed {
			log.Fatal(err)
		}
	}()
}
