package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

var adminAddress = regexp.MustCompile(`admin=(\S+)`)

// startControlPlane returns when the control plane has read all services, with the source by which an agent
// follows it.
func startControlPlane(program, kubeconfig string) (plane *process, source string, err error) {
	plane, err = start(program, func(folder string) []string {
		source = "unix://" + filepath.Join(folder, "xds.sock")
		return []string{"control-plane", "--source", "kubernetes:kubeconfig=" + kubeconfig,
			"--listen", source, "--admin", "127.0.0.1:0"}
	})
	if err != nil {
		return nil, "", err
	}
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(50 * time.Millisecond) {
		log, err := os.ReadFile(plane.log())
		if err != nil {
			return nil, "", err
		}
		admin := adminAddress.FindSubmatch(log)
		if admin == nil {
			continue
		}
		answer, err := http.Get(fmt.Sprintf("http://%s/readyz", admin[1]))
		if err != nil {
			continue
		}
		answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			return plane, "xds:" + source, nil
		}
	}
	log, _ := os.ReadFile(plane.log())
	plane.end()
	return nil, "", fmt.Errorf("the control plane was not ready within a minute:\n%s", log)
}
