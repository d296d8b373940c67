package main

import (
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// The result of one call.
type call struct {
	due time.Time
	// How late it began. This is large if the machine is too busy for the load.
	late time.Duration
	took time.Duration
	// What the pod sent about itself before it began to work. So it is known even if the caller gave up.
	pod metadata.MD
	err error
}

// The columns: due and the two durations in microseconds, the code, the caller and its zone, the pod and
// its zone.
func (c call) String() string {
	return fmt.Sprintf("%d %d %d %s %s %s %s", c.due.UnixMicro(), c.late.Microseconds(), c.took.Microseconds(),
		status.Code(c.err), os.Getenv("ZONE"), first(c.pod, "pod"), first(c.pod, "zone"))
}

func first(fields metadata.MD, name string) string {
	if values := fields.Get(name); len(values) > 0 {
		return values[0]
	}
	return "-"
}
