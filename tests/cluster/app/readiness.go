package main

import (
	"sync/atomic"

	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// Whether this pod reports itself ready, to kubelet's probe and by gRPC's health service. It serves
// requests in both cases.
type readiness struct {
	ready  atomic.Bool
	health *health.Server
}

func newReadiness() *readiness {
	r := &readiness{health: health.NewServer()}
	r.set(true)
	return r
}

func (r *readiness) set(ready bool) {
	r.ready.Store(ready)
	status := healthpb.HealthCheckResponse_NOT_SERVING
	if ready {
		status = healthpb.HealthCheckResponse_SERVING
	}
	r.health.SetServingStatus("", status)
}
