package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"strconv"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// What is in the file. Only names and addresses have to be there:
//
//	{"services": [{"name": "echo.shop:8080", "endpoints": [
//	  {"address": "127.0.0.1:8081", "zone": "a", "weight": 1, "priority": 0, "health": "HEALTHY"}]}]}
//
// What a client should reject is served as well: an address twice, a weight of 0, a gap in the priorities, the
// name of a host.
type file struct {
	Services []struct {
		Name      string
		Endpoints []placed
	}
}

type placed struct {
	Address  address
	Zone     string
	Weight   *uint32 // 1 if it is not there
	Priority uint32
	Health   health
}

// IP:PORT, or NAME:PORT.
type address struct {
	host string
	port uint32
}

func (address *address) UnmarshalText(text []byte) error {
	host, number, err := net.SplitHostPort(string(text))
	if err != nil {
		return err
	}
	port, err := strconv.ParseUint(number, 10, 16)
	address.host, address.port = host, uint32(port)
	return err
}

// One of HEALTHY, UNHEALTHY, DRAINING, TIMEOUT, DEGRADED and UNKNOWN, which it is if it is not there.
type health core.HealthStatus

func (status *health) UnmarshalText(name []byte) error {
	value, ok := core.HealthStatus_value[string(name)]
	if !ok {
		return fmt.Errorf("no health status: %s", name)
	}
	*status = health(value)
	return nil
}

// resources are the clusters and the assignments, by name.
func resources(content []byte) (clusters, assignments map[string]types.Resource, err error) {
	var file file
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&file); err != nil {
		return nil, nil, err
	}
	clusters, assignments = map[string]types.Resource{}, map[string]types.Resource{}
	for _, service := range file.Services {
		clusters[service.Name] = clusterOf(service.Name)
		assignments[service.Name] = assignmentOf(service.Name, service.Endpoints)
	}
	return clusters, assignments, nil
}

func clusterOf(name string) *cluster.Cluster {
	return &cluster.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &cluster.Cluster_Type{Type: cluster.Cluster_EDS},
		EdsClusterConfig: &cluster.Cluster_EdsClusterConfig{
			EdsConfig: &core.ConfigSource{
				ResourceApiVersion:    core.ApiVersion_V3,
				ConfigSourceSpecifier: &core.ConfigSource_Ads{Ads: &core.AggregatedConfigSource{}},
			},
		},
		CommonLbConfig: &cluster.Cluster_CommonLbConfig{
			LocalityConfigSpecifier: &cluster.Cluster_CommonLbConfig_LocalityWeightedLbConfig_{
				LocalityWeightedLbConfig: &cluster.Cluster_CommonLbConfig_LocalityWeightedLbConfig{},
			},
		},
	}
}

// assignmentOf has a locality for each zone of each priority, with the sum of its endpoints' weights.
func assignmentOf(name string, endpoints []placed) *endpoint.ClusterLoadAssignment {
	type place struct {
		zone     string
		priority uint32
	}
	assignment := &endpoint.ClusterLoadAssignment{ClusterName: name}
	localities := map[place]*endpoint.LocalityLbEndpoints{}
	for _, each := range endpoints {
		at := place{each.Zone, each.Priority}
		locality, ok := localities[at]
		if !ok {
			locality = &endpoint.LocalityLbEndpoints{
				Locality:            &core.Locality{Zone: each.Zone},
				Priority:            each.Priority,
				LoadBalancingWeight: wrapperspb.UInt32(0),
			}
			localities[at] = locality
			assignment.Endpoints = append(assignment.Endpoints, locality)
		}
		weight := uint32(1)
		if each.Weight != nil {
			weight = *each.Weight
		}
		locality.LoadBalancingWeight.Value += weight
		locality.LbEndpoints = append(locality.LbEndpoints, each.withWeight(weight))
	}
	return assignment
}

func (placed placed) withWeight(weight uint32) *endpoint.LbEndpoint {
	address := &core.SocketAddress{
		Address:       placed.Address.host,
		PortSpecifier: &core.SocketAddress_PortValue{PortValue: placed.Address.port},
	}
	return &endpoint.LbEndpoint{
		HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{
			Address: &core.Address{Address: &core.Address_SocketAddress{SocketAddress: address}},
		}},
		HealthStatus:        core.HealthStatus(placed.Health),
		LoadBalancingWeight: wrapperspb.UInt32(weight),
	}
}
