package main

import (
	"context"
	"fmt"
	"time"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const pods = 4

// deletePods deletes pods of a service, one after another, while one caller picks as fast as it can. The
// service always has other pods. It reports how long after each deletion the last pick of the pod was.
func deletePods(ctx context.Context, cluster *kubernetes.Clientset, agent *node, count int) ([]time.Duration, error) {
	labels := map[string]string{"app": "deleted"}
	_, err := cluster.CoreV1().Nodes().Create(ctx, &core.Node{ObjectMeta: meta.ObjectMeta{Name: "node"}}, meta.CreateOptions{})
	if err != nil {
		return nil, err
	}
	_, err = cluster.CoreV1().Services(namespace).Create(ctx, &core.Service{
		ObjectMeta: meta.ObjectMeta{Name: "deleted"},
		Spec:       core.ServiceSpec{ClusterIP: core.ClusterIPNone, Selector: labels, Ports: []core.ServicePort{{Name: "grpc", Port: 80}}},
	}, meta.CreateOptions{})
	if err != nil {
		return nil, err
	}
	var took []time.Duration
	for number := range count + pods {
		if err := makePod(ctx, cluster, labels, number); err != nil {
			return nil, err
		}
		if number < pods {
			continue
		}
		if err := untilPicked(ctx, agent, podAddress(number)); err != nil {
			return nil, err
		}
		last, err := deletePod(ctx, cluster, agent, number-pods)
		if err != nil {
			return nil, err
		}
		took = append(took, last)
	}
	return took, nil
}

func podName(number int) string    { return fmt.Sprintf("deleted-%d", number) }
func podAddress(number int) string { return fmt.Sprintf("10.255.0.%d", number+1) }

// makePod writes a ready pod, as its node would.
func makePod(ctx context.Context, cluster *kubernetes.Clientset, labels map[string]string, number int) error {
	api := cluster.CoreV1().Pods(namespace)
	pod, err := api.Create(ctx, &core.Pod{
		ObjectMeta: meta.ObjectMeta{Name: podName(number), Labels: labels},
		Spec:       core.PodSpec{NodeName: "node", Containers: []core.Container{{Name: "app", Image: "app"}}},
	}, meta.CreateOptions{})
	if err != nil {
		return err
	}
	pod.Status.Phase = core.PodRunning
	pod.Status.PodIP = podAddress(number)
	pod.Status.PodIPs = []core.PodIP{{IP: pod.Status.PodIP}}
	pod.Status.Conditions = []core.PodCondition{{Type: core.PodReady, Status: core.ConditionTrue}}
	_, err = api.UpdateStatus(ctx, pod, meta.UpdateOptions{})
	return err
}

func untilPicked(ctx context.Context, agent *node, wanted string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		if address, _ := agent.pick(ctx, "deleted"); address == wanted {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s was never picked", wanted)
		}
	}
}

// deletePod keeps watching for a tenth of a second after the last pick of the pod.
func deletePod(ctx context.Context, cluster *kubernetes.Clientset, agent *node, number int) (time.Duration, error) {
	deleted := make(chan error, 1)
	began := time.Now()
	go func() {
		deleted <- cluster.CoreV1().Pods(namespace).Delete(ctx, podName(number), meta.DeleteOptions{})
	}()
	last := began
	for time.Since(last) < 100*time.Millisecond {
		asked := time.Now()
		address, err := agent.pick(ctx, "deleted")
		if err != nil {
			return 0, err
		}
		if address == podAddress(number) {
			last = asked
		}
	}
	return last.Sub(began), <-deleted
}
