package main

import (
	"context"
	"fmt"
	"log"
	"sync"
	"time"

	discovery "k8s.io/api/discovery/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// How long each change took.
type propagation struct {
	lock                 sync.Mutex
	bare, picked, beyond []time.Duration
}

// change replaces endpoints at that rate, and measures the changes of services that the agent follows.
func change(ctx context.Context, cluster *kubernetes.Clientset, agent *node, services, followed, rate int, length time.Duration) (*propagation, error) {
	for service := range followed {
		if err := write(ctx, cluster, service, addresses(service, 0, 1), true); err != nil {
			return nil, err
		}
	}
	events, err := watchBare(ctx, cluster)
	if err != nil {
		return nil, err
	}
	seen := &propagation{}
	var changes sync.WaitGroup
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	total := int(length.Seconds() * float64(rate))
	for number := range total {
		<-tick.C
		if number%2 == 1 {
			other := followed + number%(services-followed)
			changes.Go(func() { must(write(ctx, cluster, other, addresses(other, number, endpoints), false)) })
			continue
		}
		service, generation := number/2%followed, 1+number/2/followed
		changes.Go(func() { must(seen.one(ctx, cluster, agent, events, service, generation)) })
	}
	changes.Wait()
	return seen, nil
}

// one makes a change, and waits for a pick with the new endpoint, or with that of a later change.
func (p *propagation) one(ctx context.Context, cluster *kubernetes.Clientset, agent *node, events *events, service, generation int) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	changed := addresses(service, generation, 1)
	// What is behind merges changes, and need not show each of them.
	newer := map[string]bool{}
	for later := range generations / 2 {
		newer[addresses(service, generation+later, 1)[0]] = true
	}
	event := events.of(changed[0])
	began := time.Now()
	written := make(chan error, 1)
	go func() { written <- write(ctx, cluster, service, changed, true) }()
	for last := ""; ; {
		address, err := agent.pick(ctx, serviceName(service))
		if err != nil {
			return fmt.Errorf("%s of %s is not picked, last was %q: %w", changed[0], serviceName(service), last, err)
		}
		if newer[address] {
			break
		}
		last = address
		time.Sleep(500 * time.Microsecond)
	}
	picked := time.Now()
	if err := <-written; err != nil {
		return err
	}
	heard := <-event
	p.lock.Lock()
	defer p.lock.Unlock()
	p.bare = append(p.bare, heard.Sub(began))
	p.picked = append(p.picked, picked.Sub(began))
	p.beyond = append(p.beyond, picked.Sub(heard))
	return nil
}

// When the bare watch received an address.
type events struct {
	lock  sync.Mutex
	await map[string]chan time.Time
}

func (e *events) of(address string) <-chan time.Time {
	heard := make(chan time.Time, 1)
	e.lock.Lock()
	defer e.lock.Unlock()
	e.await[address] = heard
	return heard
}

func watchBare(ctx context.Context, cluster *kubernetes.Clientset) (*events, error) {
	api := cluster.DiscoveryV1().EndpointSlices(namespace)
	options := meta.ListOptions{LabelSelector: followedLabel}
	now, err := api.List(ctx, options)
	if err != nil {
		return nil, err
	}
	options.ResourceVersion = now.ResourceVersion
	watch, err := api.Watch(ctx, options)
	if err != nil {
		return nil, err
	}
	events := &events{await: map[string]chan time.Time{}}
	go func() {
		for event := range watch.ResultChan() {
			now := time.Now()
			slice, ok := event.Object.(*discovery.EndpointSlice)
			if !ok {
				log.Fatalf("the bare watch: %v", event.Object)
			}
			address := slice.Endpoints[0].Addresses[0]
			events.lock.Lock()
			if heard, ok := events.await[address]; ok {
				heard <- now
				delete(events.await, address)
			}
			events.lock.Unlock()
		}
		log.Fatal("the bare watch ended")
	}()
	return events, nil
}
