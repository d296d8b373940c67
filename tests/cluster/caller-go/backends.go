package main

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"

	pointsman "caller/pointsman/v1"
)

// Connections to the picked back-ends, by address.
type backends map[string]*grpc.ClientConn

func newBackends() backends { return backends{} }

// call asks which pod answers: see ../app/grpc.go.
func (b backends) call(ctx context.Context, address string) (map[string]any, error) {
	if b[address] == nil {
		b[address] = connect(address)
	}
	answer := new(structpb.Struct)
	err := b[address].Invoke(ctx, "/test.App/Who", new(emptypb.Empty), answer)
	if err != nil {
		// Another pod may get that address, and would have to wait for gRPC's next attempt.
		b[address].Close()
		delete(b, address)
	}
	return answer.AsMap(), err
}

func outcome(err error) pointsman.Outcome {
	switch status.Code(err) {
	case codes.OK:
		return pointsman.Outcome_SUCCESS
	case codes.Unavailable:
		return pointsman.Outcome_UNREACHABLE
	case codes.DeadlineExceeded:
		return pointsman.Outcome_EXPIRED
	default:
		return pointsman.Outcome_FAILURE
	}
}
