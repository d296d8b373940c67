// What ../calls.py does, in Go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	_ "google.golang.org/grpc/xds"
)

// See ../calls.py.
const deadline = 20 * time.Second

// Messages as they are.
type raw struct{}

func (raw) Name() string { return "raw" }

func (raw) Marshal(message any) ([]byte, error) {
	if message, ok := message.(*[]byte); ok {
		return *message, nil
	}
	return nil, errors.New("not bytes")
}

func (raw) Unmarshal(bytes []byte, message any) error {
	*message.(*[]byte) = append([]byte{}, bytes...)
	return nil
}

var words = regexp.MustCompile("([a-z])([A-Z])")

// Go says DeadlineExceeded, the others DEADLINE_EXCEEDED.
func name(code codes.Code) string {
	return strings.ToUpper(words.ReplaceAllString(code.String(), "${1}_${2}"))
}

// calls calls a target so often, or until the program is ended if that is negative.
func calls(target, path string, number int, pause time.Duration) {
	connection, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	for n := 0; n != number; n++ {
		began := time.Now()
		var answer []byte
		ctx, cancel := context.WithDeadline(context.Background(), began.Add(deadline))
		err := connection.Invoke(ctx, path, &[]byte{}, &answer)
		cancel()
		said := string(answer)
		if failure := status.Convert(err); failure.Code() != codes.OK {
			said = strings.Join(append([]string{name(failure.Code())}, strings.Fields(failure.Message())...), " ")
		}
		fmt.Println(began.UnixMilli(), time.Since(began).Milliseconds(), said)
		time.Sleep(pause)
	}
}

func main() {
	targets := os.Args[1:]
	number := flag.Int("number", -1, "how many calls of each target")
	pause := flag.Int("pause", 5, "ms between them")
	path := flag.String("path", "/echo/Call", "what is called")
	if options := slices.IndexFunc(targets, func(word string) bool { return word[0] == '-' }); options >= 0 {
		flag.CommandLine.Parse(targets[options:])
		targets = targets[:options]
	}
	for _, target := range targets {
		calls(target, *path, *number, time.Duration(*pause)*time.Millisecond)
	}
}
