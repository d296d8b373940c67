package main

import (
	"context"
	"os"
	"sync/atomic"
	"time"
)

// The identity of this pod, from its own fields by the downward API.
type identity struct {
	Pod  string `json:"pod"`
	Node string `json:"node"`
	Zone string `json:"zone"`
}

// The work of a request: it waits for a worker, and keeps it for the latency.
type work struct {
	who     identity
	latency atomic.Int64
	workers chan struct{}
	served  atomic.Int64
	running atomic.Int64
}

func newWork(latency time.Duration, workers int) *work {
	w := &work{who: identity{os.Getenv("POD"), os.Getenv("NODE"), os.Getenv("ZONE")}}
	w.latency.Store(int64(latency))
	if workers > 0 {
		w.workers = make(chan struct{}, workers)
	}
	return w
}

// do fails if the caller gave up before a worker was free.
func (w *work) do(ctx context.Context) error {
	w.running.Add(1)
	defer w.running.Add(-1)
	if w.workers != nil {
		select {
		case w.workers <- struct{}{}:
			defer func() { <-w.workers }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	time.Sleep(time.Duration(w.latency.Load()))
	w.served.Add(1)
	return nil
}
