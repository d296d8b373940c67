package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

func init() { runtime.LockOSThread() }

// A program that runs as a child, with a folder of its own.
type process struct {
	command *exec.Cmd
	folder  string
}

// start runs a program, whose log goes to its folder. arguments gets the folder.
func start(program string, arguments func(folder string) []string) (*process, error) {
	folder, err := os.MkdirTemp("", "changes")
	if err != nil {
		return nil, err
	}
	started := &process{exec.Command(program, arguments(folder)...), folder}
	log, err := os.Create(started.log())
	if err != nil {
		return nil, err
	}
	defer log.Close()
	started.command.Stderr = log
	// init makes this the program's first thread. The child ends with it for any reason.
	started.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return started, started.command.Start()
}

func (p *process) log() string { return filepath.Join(p.folder, "log") }

func (p *process) end() {
	p.command.Process.Kill()
	p.command.Wait()
	os.RemoveAll(p.folder)
}

// memory returns the resident memory, in bytes.
func (p *process) memory() (int, error) { return p.status("VmRSS:") }

// peak returns the most resident memory so far, in bytes.
func (p *process) peak() (int, error) { return p.status("VmHWM:") }

func (p *process) status(field string) (int, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.command.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, field); ok {
			var kibibytes int
			_, err := fmt.Sscan(rest, &kibibytes)
			return kibibytes << 10, err
		}
	}
	return 0, fmt.Errorf("no %s in %s", field, status)
}
