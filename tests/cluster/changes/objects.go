package main

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// The services of the bare watch.
const followedLabel = "followed"

func serviceName(service int) string { return fmt.Sprintf("s%d", service) }

// fill writes this many Services, and a slice for each. They have no cluster IP, because assigning those
// would take longest.
func fill(ctx context.Context, cluster *kubernetes.Clientset, services int) error {
	space := &core.Namespace{ObjectMeta: meta.ObjectMeta{Name: namespace}}
	if _, err := cluster.CoreV1().Namespaces().Create(ctx, space, meta.CreateOptions{}); err != nil {
		return err
	}
	writers, ctx := errgroup.WithContext(ctx)
	writers.SetLimit(32)
	for service := range services {
		writers.Go(func() error {
			name := serviceName(service)
			_, err := cluster.CoreV1().Services(namespace).Create(ctx, &core.Service{
				ObjectMeta: meta.ObjectMeta{Name: name},
				Spec: core.ServiceSpec{
					ClusterIP: core.ClusterIPNone,
					Ports:     []core.ServicePort{{Name: "grpc", Port: 80}},
				},
			}, meta.CreateOptions{})
			if err != nil {
				return err
			}
			_, err = cluster.DiscoveryV1().EndpointSlices(namespace).Create(ctx, slice(service, addresses(service, 0, endpoints)), meta.CreateOptions{})
			return err
		})
	}
	return writers.Wait()
}

// After so many generations a service's addresses come again.
const generations = 50

// addresses returns the addresses of a service. Each generation has other ones.
func addresses(service, generation, count int) []string {
	var all []string
	for endpoint := range count {
		number := (service*16+endpoint)*generations + generation%generations
		all = append(all, fmt.Sprintf("10.%d.%d.%d", number>>16&0xff, number>>8&0xff, number&0xff))
	}
	return all
}

func slice(service int, addresses []string) *discovery.EndpointSlice {
	name, port := "grpc", int32(80)
	whole := &discovery.EndpointSlice{
		ObjectMeta: meta.ObjectMeta{
			Name: serviceName(service),
			Labels: map[string]string{
				discovery.LabelServiceName: serviceName(service),
				discovery.LabelManagedBy:   "tests.pointsman.dev",
			},
		},
		AddressType: discovery.AddressTypeIPv4,
		Ports:       []discovery.EndpointPort{{Name: &name, Port: &port}},
	}
	for _, address := range addresses {
		whole.Endpoints = append(whole.Endpoints, discovery.Endpoint{Addresses: []string{address}})
	}
	return whole
}

// write replaces a service's endpoints.
func write(ctx context.Context, cluster *kubernetes.Clientset, service int, addresses []string, followed bool) error {
	whole := slice(service, addresses)
	if followed {
		whole.Labels[followedLabel] = "yes"
	}
	_, err := cluster.DiscoveryV1().EndpointSlices(namespace).Update(ctx, whole, meta.UpdateOptions{})
	return err
}
