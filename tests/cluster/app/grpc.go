package main

import (
	"context"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// The same over gRPC, with messages that every client has without code generation:
//
//	service App { rpc Who(google.protobuf.Empty) returns (google.protobuf.Struct); }
//
// in the package `test`, so its path is /test.App/Who. The metadata also names the pod. It is sent before
// the work, so that a caller knows the pod of a call that it gave up.
func overGRPC(work *work, ready *readiness) *grpc.Server {
	who, err := structpb.NewStruct(map[string]any{
		"pod": work.who.Pod, "node": work.who.Node, "zone": work.who.Zone,
	})
	if err != nil {
		panic(err)
	}
	before := metadata.Pairs("pod", work.who.Pod, "node", work.who.Node, "zone", work.who.Zone)
	server := grpc.NewServer()
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "test.App",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{
			MethodName: "Who",
			Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				if err := decode(&emptypb.Empty{}); err != nil {
					return nil, err
				}
				grpc.SendHeader(ctx, before)
				if err := work.do(ctx); err != nil {
					return nil, status.FromContextError(err).Err()
				}
				return who, nil
			},
		}},
	}, struct{}{})
	healthpb.RegisterHealthServer(server, ready.health)
	return server
}
