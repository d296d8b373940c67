package main

import (
	"fmt"
	"log"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	router "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	common "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"
	least "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	robin "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	wrr "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/wrr_locality/v3"
	http "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	percent "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// The states that are served, one after the other.
const (
	all     = iota + 1
	refused // with a cluster that Envoy refuses
	less    // without that, and without one that it had
)

// Each value is there once, so that no field can be taken for another.
func snapshot(state int) cache.ResourceSnapshot {
	clusters := []types.Resource{full(), policies()}
	switch state {
	case refused:
		clusters = append(clusters, wrong())
	case less:
		clusters = clusters[:1]
	}
	snapshot, err := cache.NewSnapshot(fmt.Sprint("version-", state), map[resource.Type][]types.Resource{
		resource.ClusterType:  clusters,
		resource.EndpointType: {assignment("full-assignment"), assignment("policies")},
		resource.ListenerType: {edge(), api()},
		resource.RouteType:    {routes()},
	})
	if err != nil {
		log.Fatal(err)
	}
	return snapshot
}

func packed(message proto.Message) *anypb.Any {
	any, err := anypb.New(message)
	if err != nil {
		log.Fatal(err)
	}
	return any
}

var number = wrapperspb.UInt32

func seconds(seconds int64) *durationpb.Duration {
	return durationpb.New(time.Duration(seconds) * time.Second)
}

func ads() *core.ConfigSource {
	return &core.ConfigSource{
		ConfigSourceSpecifier: &core.ConfigSource_Ads{Ads: &core.AggregatedConfigSource{}},
		InitialFetchTimeout:   seconds(9),
		ResourceApiVersion:    core.ApiVersion_V3,
	}
}

func full() *cluster.Cluster {
	return &cluster.Cluster{
		Name:                 "full",
		ClusterDiscoveryType: &cluster.Cluster_Type{Type: cluster.Cluster_EDS},
		EdsClusterConfig:     &cluster.Cluster_EdsClusterConfig{EdsConfig: ads(), ServiceName: "full-assignment"},
		ConnectTimeout:       durationpb.New(1500 * time.Millisecond),
		LbPolicy:             cluster.Cluster_LEAST_REQUEST,
		CircuitBreakers: &cluster.CircuitBreakers{Thresholds: []*cluster.CircuitBreakers_Thresholds{{
			Priority: core.RoutingPriority_HIGH, MaxConnections: number(101), MaxPendingRequests: number(102),
			MaxRequests: number(103), MaxRetries: number(104),
		}}},
		OutlierDetection: &cluster.OutlierDetection{
			Consecutive_5Xx: number(11), Interval: seconds(12), BaseEjectionTime: seconds(13), MaxEjectionPercent: number(14),
			EnforcingConsecutive_5Xx: number(15), EnforcingSuccessRate: number(16), SuccessRateMinimumHosts: number(17),
			SuccessRateRequestVolume: number(18), SuccessRateStdevFactor: number(1900), ConsecutiveGatewayFailure: number(20),
			EnforcingConsecutiveGatewayFailure: number(21), FailurePercentageThreshold: number(26),
			EnforcingFailurePercentage: number(27), FailurePercentageMinimumHosts: number(29),
			FailurePercentageRequestVolume: number(30), MaxEjectionTime: seconds(31),
		},
		Metadata: &core.Metadata{
			FilterMetadata: map[string]*structpb.Struct{"filter": {Fields: map[string]*structpb.Value{
				"key": structpb.NewStringValue("value"),
			}}},
			TypedFilterMetadata: map[string]*anypb.Any{"typed": packed(number(105))},
		},
		CommonLbConfig: &cluster.Cluster_CommonLbConfig{
			HealthyPanicThreshold: &percent.Percent{Value: 12.5},
			LocalityConfigSpecifier: &cluster.Cluster_CommonLbConfig_ZoneAwareLbConfig_{
				ZoneAwareLbConfig: &cluster.Cluster_CommonLbConfig_ZoneAwareLbConfig{
					RoutingEnabled: &percent.Percent{Value: 62.5}, MinClusterSize: wrapperspb.UInt64(106), FailTrafficOnPanic: true,
				},
			},
		},
		TypedExtensionProtocolOptions: map[string]*anypb.Any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": packed(&http.HttpProtocolOptions{
				UpstreamProtocolOptions: &http.HttpProtocolOptions_ExplicitHttpConfig_{
					ExplicitHttpConfig: &http.HttpProtocolOptions_ExplicitHttpConfig{
						ProtocolConfig: &http.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
							Http2ProtocolOptions: &core.Http2ProtocolOptions{MaxConcurrentStreams: number(107)},
						},
					},
				},
			}),
		},
		LbConfig: &cluster.Cluster_LeastRequestLbConfig_{LeastRequestLbConfig: &cluster.Cluster_LeastRequestLbConfig{
			ChoiceCount: number(5), ActiveRequestBias: &core.RuntimeDouble{DefaultValue: 1.25, RuntimeKey: "bias"},
			SlowStartConfig: &cluster.Cluster_SlowStartConfig{
				SlowStartWindow: seconds(32), Aggression: &core.RuntimeDouble{DefaultValue: 2.5, RuntimeKey: "aggression"},
				MinWeightPercent: &percent.Percent{Value: 37.5},
			},
		}},
	}
}

func eds(name string, policy *cluster.LoadBalancingPolicy) *cluster.Cluster {
	return &cluster.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &cluster.Cluster_Type{Type: cluster.Cluster_EDS},
		EdsClusterConfig:     &cluster.Cluster_EdsClusterConfig{EdsConfig: ads()},
		LoadBalancingPolicy:  policy,
	}
}

func policy(name string, config proto.Message) *cluster.LoadBalancingPolicy {
	return &cluster.LoadBalancingPolicy{Policies: []*cluster.LoadBalancingPolicy_Policy{{
		TypedExtensionConfig: &core.TypedExtensionConfig{Name: name, TypedConfig: packed(config)},
	}}}
}

func policies() *cluster.Cluster {
	return eds("policies", policy("envoy.load_balancing_policies.least_request", &least.LeastRequest{
		ChoiceCount:       number(6),
		ActiveRequestBias: &core.RuntimeDouble{DefaultValue: 1.75, RuntimeKey: "other-bias"},
		SlowStartConfig: &common.SlowStartConfig{
			SlowStartWindow: seconds(33), Aggression: &core.RuntimeDouble{DefaultValue: 3.5, RuntimeKey: "other-aggression"},
			MinWeightPercent: &percent.Percent{Value: 87.5},
		},
		LocalityLbConfig: &common.LocalityLbConfig{
			LocalityConfigSpecifier: &common.LocalityLbConfig_LocalityWeightedLbConfig_{
				LocalityWeightedLbConfig: &common.LocalityLbConfig_LocalityWeightedLbConfig{},
			},
		},
	}))
}

// Of all policies, Envoy allows client_side_weighted_round_robin only in wrr_locality.
func wrong() *cluster.Cluster {
	within := policy("envoy.load_balancing_policies.round_robin", &robin.RoundRobin{})
	return eds("wrong", policy("envoy.load_balancing_policies.wrr_locality",
		&wrr.WrrLocality{EndpointPickingPolicy: within}))
}

func assignment(name string) *endpoint.ClusterLoadAssignment {
	address := func(host string, port uint32) *endpoint.LbEndpoint_Endpoint {
		return &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{
			Address: &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
				Address: host, PortSpecifier: &core.SocketAddress_PortValue{PortValue: port},
			}}},
			Hostname: "host.example",
		}}
	}
	return &endpoint.ClusterLoadAssignment{
		ClusterName: name,
		Endpoints: []*endpoint.LocalityLbEndpoints{
			{
				Locality:            &core.Locality{Region: "region-1", Zone: "zone-2", SubZone: "sub-zone-3"},
				LoadBalancingWeight: number(41),
				LbEndpoints: []*endpoint.LbEndpoint{{
					HostIdentifier: address("192.0.2.1", 8081), HealthStatus: core.HealthStatus_DRAINING,
					LoadBalancingWeight: number(42),
					Metadata:            &core.Metadata{TypedFilterMetadata: map[string]*anypb.Any{"endpoint": packed(number(43))}},
				}},
			},
			{
				Locality:            &core.Locality{Zone: "zone-4"},
				LoadBalancingWeight: number(44),
				Priority:            1,
				LbEndpoints: []*endpoint.LbEndpoint{{
					HostIdentifier: address("2001:db8::2", 8082), HealthStatus: core.HealthStatus_UNHEALTHY,
				}},
				Metadata: &core.Metadata{TypedFilterMetadata: map[string]*anypb.Any{"place": packed(number(45))}},
			},
		},
		Policy: &endpoint.ClusterLoadAssignment_Policy{
			DropOverloads: []*endpoint.ClusterLoadAssignment_Policy_DropOverload{{
				Category: "category", DropPercentage: &percent.FractionalPercent{
					Numerator: 7, Denominator: percent.FractionalPercent_TEN_THOUSAND,
				},
			}},
			OverprovisioningFactor: number(145),
			EndpointStaleAfter:     seconds(3600),
		},
	}
}

func connections(prefix string) *hcm.HttpConnectionManager {
	return &hcm.HttpConnectionManager{
		StatPrefix: prefix,
		RouteSpecifier: &hcm.HttpConnectionManager_Rds{Rds: &hcm.Rds{
			ConfigSource: ads(), RouteConfigName: "routes",
		}},
		HttpFilters: []*hcm.HttpFilter{{
			Name: "envoy.filters.http.router", ConfigType: &hcm.HttpFilter_TypedConfig{TypedConfig: packed(&router.Router{})},
		}},
	}
}

// What Envoy asks for routes for.
func edge() *listener.Listener {
	return &listener.Listener{
		Name: "edge",
		Address: &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
			Address: "127.0.0.1", PortSpecifier: &core.SocketAddress_PortValue{PortValue: 0},
		}}},
		FilterChains: []*listener.FilterChain{{Filters: []*listener.Filter{{
			Name:       "envoy.filters.network.http_connection_manager",
			ConfigType: &listener.Filter_TypedConfig{TypedConfig: packed(connections("edge"))},
		}}}},
	}
}

// As a client of gRPC wants it. Envoy ignores it.
func api() *listener.Listener {
	return &listener.Listener{
		Name:        "api",
		ApiListener: &listener.ApiListener{ApiListener: packed(connections("api"))},
	}
}

func routes() *route.RouteConfiguration {
	return &route.RouteConfiguration{
		Name: "routes",
		VirtualHosts: []*route.VirtualHost{{
			Name: "host", Domains: []string{"a.example", "*"},
			Routes: []*route.Route{
				{
					Match: &route.RouteMatch{PathSpecifier: &route.RouteMatch_Path{Path: "/path"}},
					Action: &route.Route_Route{Route: &route.RouteAction{
						ClusterSpecifier: &route.RouteAction_Cluster{Cluster: "full"},
						Timeout:          seconds(51),
						MaxStreamDuration: &route.RouteAction_MaxStreamDuration{
							MaxStreamDuration: seconds(52), GrpcTimeoutHeaderMax: seconds(53), GrpcTimeoutHeaderOffset: seconds(54),
						},
					}},
				},
				{
					Match: &route.RouteMatch{PathSpecifier: &route.RouteMatch_Prefix{Prefix: "/prefix"}},
					Action: &route.Route_Route{Route: &route.RouteAction{
						ClusterSpecifier: &route.RouteAction_Cluster{Cluster: "full"},
					}},
				},
			},
		}},
	}
}
