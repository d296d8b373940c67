// Measures how soon an agent's picks follow a change, in a cluster of many services that changes all the
// time, and what the agent costs the API server.
//
// A change replaces the only endpoint of a slice. The time from the write to the first pick with the new
// endpoint is measured, and also the time to the event of a bare watch in the same process. The difference
// is the agent's part, and that of the control plane if the agent follows one.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"slices"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	namespace = "propagation"
	endpoints = 10
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "of the administrator")
	agent := flag.String("agent", "", "the program, which is started here")
	services := flag.Int("services", 10_000, "how many there are, of ten endpoints each")
	followed := flag.Int("followed", 100, "how many of them the agent is asked for")
	rate := flag.Int("rate", 100, "changes a second, every other one of a service that is followed")
	length := flag.Duration("for", 20*time.Second, "how long")
	through := flag.String("through", "", "control-plane: the agent follows one, which follows the API server")
	deletions := flag.Int("deletions", 30, "how many pods are deleted")
	smoke := flag.Bool("smoke", false, "only whether it runs: little of it all, and no verdict")
	flag.Parse()
	if *smoke {
		*services, *followed, *length, *deletions = 100, 10, 2*time.Second, 3
	}
	if *through != "" && *through != "control-plane" {
		log.Fatalf("-through %s: write -through control-plane, or leave it out", *through)
	}
	ctx := context.Background()
	cluster := connect(*kubeconfig)

	began := time.Now()
	must(fill(ctx, cluster, *services))
	fmt.Printf("%d services, %d endpoints, written in %.0f s\n", *services, *services*endpoints, time.Since(began).Seconds())

	way, err := countTo(*kubeconfig)
	must(err)
	source := "kubernetes:kubeconfig=" + way.kubeconfig
	var plane *process
	if *through == "control-plane" {
		began = time.Now()
		plane, source, err = startControlPlane(*agent, way.kubeconfig)
		must(err)
		defer plane.end()
		fmt.Printf("the control plane is ready after %.1f s: %.2f MB received\n",
			time.Since(began).Seconds(), float64(way.received.Load())/1e6)
	}
	node, err := startAgent(*agent, source)
	must(err)
	defer node.end()
	// The list of all names, which the agent requests once.
	must(node.follow(ctx, 0))
	names := way.received.Load()
	began = time.Now()
	for service := range *followed {
		must(node.follow(ctx, service))
	}
	first := float64(time.Since(began).Microseconds()) / 1e3 / float64(*followed)
	if plane == nil {
		fmt.Printf("the agent's first answers: %.2f MB for the names, %.1f KB for each service followed, in %.1f ms\n",
			float64(names)/1e6, float64(way.received.Load()-names)/1e3/float64(*followed), first)
	} else {
		fmt.Printf("the agent's first answers: in %.1f ms for each service followed\n", first)
	}

	before := way.received.Load()
	seen, err := change(ctx, cluster, node, *services, *followed, *rate, *length)
	must(err)
	kilobytes := float64(way.received.Load()-before) / length.Seconds() / 1e3
	if plane == nil {
		watches := node.watches(*followed)
		fmt.Printf("the agent, while %d changes a second: %d watches on %d connections, %.1f KB/s received, %.0f MiB of memory\n",
			*rate, watches, way.open.Load(), kilobytes, mebibytes(node.process))
		fmt.Printf("a thousand of it: %d watches, %.1f MB/s\n", watches*1000, kilobytes)
	} else {
		fmt.Printf("the control plane, while %d changes a second: %d connections, %.1f KB/s received, %.0f MiB of memory, %.0f at its peak\n",
			*rate, way.open.Load(), kilobytes, mebibytes(plane), peak(plane))
		fmt.Printf("the agent meanwhile: %.0f MiB of memory\n", mebibytes(node.process))
	}
	tell("write to the event of a bare watch", seen.bare)
	tell("write to the changed pick", seen.picked)
	tell("the pick, after the bare watch", seen.beyond)
	missed := at(seen.beyond, 0.5) > 10 || at(seen.beyond, 0.99) > 50

	last, err := deletePods(ctx, cluster, node, *deletions)
	must(err)
	tell("pod deleted to the last pick of it", last)
	if *smoke {
		return
	}
	if missed {
		fmt.Println("WRONG propagation: the pick is to follow the bare watch after 10 ms at p50, 50 ms at p99")
		node.end()
		if plane != nil {
			plane.end()
		}
		os.Exit(1)
	}
	fmt.Println("ok propagation: within 10 ms of the bare watch at p50, 50 ms at p99")
}

func connect(kubeconfig string) *kubernetes.Clientset {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	must(err)
	config.QPS = -1
	config.ContentType = "application/vnd.kubernetes.protobuf"
	return kubernetes.NewForConfigOrDie(config)
}

func mebibytes(of *process) float64 {
	memory, err := of.memory()
	must(err)
	return float64(memory) / (1 << 20)
}

func peak(of *process) float64 {
	memory, err := of.peak()
	must(err)
	return float64(memory) / (1 << 20)
}

func tell(what string, took []time.Duration) {
	slices.Sort(took)
	fmt.Printf("%s: p50 %.1f ms, p99 %.1f ms, of %d\n", what, at(took, 0.5), at(took, 0.99), len(took))
}

// at returns the time in milliseconds that this share of the sorted durations did not exceed.
func at(took []time.Duration, share float64) float64 {
	return float64(took[min(len(took)-1, int(float64(len(took))*share))].Microseconds()) / 1e3
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
