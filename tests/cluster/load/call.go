package main

import (
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// One call, and how it went.
type call struct {
	due time.Time
	// How much later than due it began: large where the machine has no time for the load.
	late time.Duration
	took time.Duration
	// What the pod said of itself before it began to work: known of calls that were given up, too.
	pod metadata.MD
	err error
}

// In columns: due and the two durations in microseconds, the code, who called from which zone, and
// the pod with its zone.
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
