// A load on ../app over gRPC, from several independent clients. Each chooses pods in its own way. It prints
// a line for each call.
//
// Calls begin when they are due, even if earlier ones have not ended, and their time counts from then. A
// client that waits for a slow answer before its next call would hide the waiting time of later calls.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"sync"
	"time"
)

func main() {
	way := flag.String("way", "", "connections, round_robin or pointsman")
	connections := flag.Int("connections", 1, "of each client, for the way of that name")
	target := flag.String("target", "", "whom to call: an address and a port; or a service, as the agent knows it")
	clients := flag.Int("clients", 4, "how many there are")
	rate := flag.Float64("rate", 10, "calls a second of each client, on average")
	warm := flag.Duration("warm", time.Second, "how long calls are made before they are told of")
	length := flag.Duration("for", 10*time.Second, "how long they are told of")
	deadline := flag.Duration("deadline", 2*time.Second, "when a call is given up")
	seed := flag.Uint64("seed", 1, "the same calls at the same times, if the seed is the same")
	flag.Parse()

	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	called := make(chan call, 1024)
	var running sync.WaitGroup
	for client := range *clients {
		caller, err := newCaller(*way, *target, *connections)
		if err != nil {
			log.Fatal(err)
		}
		random := rand.New(rand.NewPCG(*seed, uint64(client)))
		running.Go(func() { load(caller, random, *rate, *warm+*length, *deadline, called) })
	}
	go func() {
		running.Wait()
		close(called)
	}()
	begin := time.Now().Add(*warm)
	for call := range called {
		if call.due.After(begin) {
			fmt.Fprintln(out, call)
		}
	}
}

// load makes calls by one client, at the random intervals of independent callers, and waits until all have
// ended.
func load(caller caller, random *rand.Rand, rate float64, length, deadline time.Duration, called chan<- call) {
	var calls sync.WaitGroup
	defer calls.Wait()
	for next, end := time.Now(), time.Now().Add(length); next.Before(end); {
		next = next.Add(time.Duration(random.ExpFloat64() / rate * float64(time.Second)))
		due := next
		time.Sleep(time.Until(due))
		calls.Go(func() {
			ctx, cancel := context.WithDeadline(context.Background(), due.Add(deadline))
			defer cancel()
			late := time.Since(due)
			pod, err := caller.call(ctx)
			called <- call{due, late, time.Since(due), pod, err}
		})
	}
}
