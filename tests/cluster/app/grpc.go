package main

import (
	"context"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// The same over gRPC, of messages that every client has without generating any:
//
//	service App { rpc Who(google.protobuf.Empty) returns (google.protobuf.Struct); }
//
// in the package `test`: its path is /test.App/Who.
func overGRPC(work *work, ready *readiness) *grpc.Server {
	who, err := structpb.NewStruct(map[string]any{
		"pod": work.who.Pod, "node": work.who.Node, "zone": work.who.Zone,
	})
	if err != nil {
		panic(err)
	}
	server := grpc.NewServer()
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "test.App",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{
			MethodName: "Who",
			Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				if err := decode(&emptypb.Empty{}); err != nil {
					return nil, err
				}
				work.do()
				return who, nil
			},
		}},
	}, struct{}{})
	healthpb.RegisterHealthServer(server, ready.health)
	return server
}
