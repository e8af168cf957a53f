package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// pullPackages are Debian packages of which each is a layer, on top of the Debian
// tree: 400 MB with it.
var pullPackages = []string{"libllvm14", "gcc-12", "cpp-12", "vim-runtime"}

// layerFile is a layer in the bench's layout.
type layerFile struct{ path, digest, diffID string }

// puller is one way to bring an image in, and to forget it again.
type puller struct {
	name   string
	pull   func(tag string) []string
	forget func()
}

// pulls measures a cold pull from a registry on this machine, the image unpacked at
// the end, and one of which four layers of five are there.
func (b *bench) pulls() error {
	for _, program := range []string{"docker-registry", "skopeo", "dpkg-deb"} {
		if _, err := exec.LookPath(program); err != nil {
			fmt.Fprintln(os.Stderr, "bench: pulls left out:", err)
			return nil
		}
	}
	layers, err := b.pullLayers()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: pulls left out:", err)
		return nil
	}
	addr, err := b.registry(layers)
	if err != nil {
		return err
	}
	all := b.pullers(addr, layers)
	cold, shared := map[string][]time.Duration{}, map[string][]time.Duration{}
	peak := int64(0)
	for range 3 {
		for _, p := range all {
			p.forget()
			took, rss, err := timed(p.pull("five"))
			if err != nil {
				return err
			}
			cold[p.name] = append(cold[p.name], took)
			if p.name == "coracle" {
				peak = max(peak, rss)
			}
			if p.name == bare {
				continue
			}
			p.forget()
			if _, _, err := timed(p.pull("four")); err != nil {
				return err
			}
			took, _, err = timed(p.pull("five"))
			if err != nil {
				return err
			}
			shared[p.name] = append(shared[p.name], took)
		}
	}
	b.compare("pull of 5 layers, 400 MB unpacked", middles(cold))
	b.compare("pull of an image that shares 4 of 5 layers", middles(shared))
	b.rows = append(b.rows, row{"memory of a pull at its peak", fmt.Sprintf("%.1f MB", float64(peak)/1e3), "budget", "100 MB", fmt.Sprintf("%.2f", float64(peak)/1e5)})
	return b.roundTrips(addr + "/bench:five")
}

// roundTrips saves the image to a file, forgets it, and loads it again. Docker
// unpacks what it loads and coracle does so for the first container: so that is
// made too, in a row of its own.
func (b *bench) roundTrips(image string) error {
	if !b.peers["docker"] {
		return nil
	}
	file, root := b.dir+"/saved.tar", b.dir+"/loaded"
	ours := func(args ...string) []string { return append([]string{b.coracle, "--root", root}, args...) }
	trip, ready := map[string][]time.Duration{}, map[string][]time.Duration{}
	for range 3 {
		for name, steps := range map[string][][]string{
			"coracle": {ours("pull", "-q", image), ours("save", "-o", file, image), ours("rmi", image), ours("load", "-q", "-i", file), ours("create", "--name", "trip", image)},
			"docker": {{"docker", "pull", "-q", image}, {"docker", "save", "-o", file, image}, {"docker", "rmi", "-f", image},
				{"docker", "load", "-q", "-i", file}, {"docker", "create", "--name", "trip", image}},
		} {
			var took [5]time.Duration
			for i, argv := range steps {
				var err error
				if took[i], _, err = timed(argv); err != nil {
					return err
				}
			}
			trip[name] = append(trip[name], took[1]+took[3])
			ready[name] = append(ready[name], took[1]+took[3]+took[4])
			remove := append(slices.Clone(steps[4][:len(steps[4])-4]), "rm", "trip")
			if _, _, err := timed(remove); err != nil {
				return err
			}
		}
		os.RemoveAll(root)
		sh("docker", "rmi", "-f", image)
	}
	b.compare("save and load of 5 layers", middles(trip))
	b.compare("the same, and a container of it", middles(ready))
	return nil
}

const bare = "gzip -dc | tar -x, two at a time"

// timed runs a command after what was written before is on the disk. rss is the
// most memory that it had, in kilobytes.
func timed(argv []string) (took time.Duration, rss int64, err error) {
	syscall.Sync()
	cmd := exec.Command(argv[0], argv[1:]...)
	began := time.Now()
	out, err := cmd.CombinedOutput()
	took = time.Since(began)
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, out)
	}
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		rss = int64(u.Maxrss)
	}
	return took, rss, nil
}

func (b *bench) pullers(addr string, layers []layerFile) []puller {
	image := func(tag string) string { return addr + "/bench:" + tag }
	root := b.dir + "/pulled"
	all := []puller{{"coracle",
		func(tag string) []string { return []string{b.coracle, "--root", root, "pull", "-q", image(tag)} },
		func() { os.RemoveAll(root) },
	}}
	var lines []string
	for i, l := range layers {
		lines = append(lines, fmt.Sprintf("mkdir -p %[1]s/bare/%[2]d; gzip -dc %[3]s | tar -C %[1]s/bare/%[2]d -xpf -", b.dir, i, l.path))
	}
	script := "printf '%s\\0' \"$@\" | xargs -0 -P2 -I{} sh -c {}"
	all = append(all, puller{bare,
		func(string) []string { return append([]string{"sh", "-c", script, "sh"}, lines...) },
		func() { os.RemoveAll(b.dir + "/bare") },
	})
	if b.peers["docker"] {
		all = append(all, puller{"docker",
			func(tag string) []string { return []string{"docker", "pull", "-q", image(tag)} },
			func() { sh("docker", "rmi", "-f", image("four"), image("five")) },
		})
	}
	if b.peers["podman"] {
		all = append(all, puller{"podman",
			func(tag string) []string {
				return append([]string{"podman"}, b.podman("pull", "-q", "--tls-verify=false", image(tag))...)
			},
			func() { sh("podman", b.podman("rmi", "-f", "-i", image("four"), image("five"))...) },
		})
	}
	return all
}

// pullLayers makes the layers: the Debian tree and one of each package.
func (b *bench) pullLayers() ([]layerFile, error) {
	dir := b.dir + "/layout/blobs/sha256"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	first, err := packLayer(dir, "cat", b.tree)
	if err != nil {
		return nil, err
	}
	layers := []layerFile{first}
	// Our own network leads nowhere; whoever started us has the machine's.
	get := exec.Command("nsenter", append([]string{"-t", strconv.Itoa(os.Getppid()), "-n", "apt-get", "download", "-qq"}, pullPackages...)...)
	get.Dir = b.dir
	if out, err := get.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("apt-get download: %w\n%s", err, out)
	}
	for _, p := range pullPackages {
		found, _ := filepath.Glob(b.dir + "/" + p + "_*.deb")
		if len(found) != 1 {
			return nil, fmt.Errorf("package %s was not downloaded", p)
		}
		l, err := packLayer(dir, "dpkg-deb", "--fsys-tarfile", found[0])
		if err != nil {
			return nil, err
		}
		layers = append(layers, l)
	}
	return layers, nil
}

// packLayer keeps a command's output, packed by gzip, as a blob.
func packLayer(dir string, argv ...string) (l layerFile, err error) {
	at := filepath.Join(dir, "new")
	plain, packed := sha256.New(), sha256.New()
	make := exec.Command(argv[0], argv[1:]...)
	tar, err := make.StdoutPipe()
	if err != nil {
		return l, err
	}
	gz := exec.Command("gzip", "-c")
	gz.Stdin = io.TeeReader(tar, plain)
	f, err := os.Create(at)
	if err != nil {
		return l, err
	}
	defer f.Close()
	gz.Stdout = io.MultiWriter(f, packed)
	if err := make.Start(); err != nil {
		return l, err
	}
	if err := gz.Run(); err != nil {
		return l, err
	}
	if err := make.Wait(); err != nil {
		return l, err
	}
	l = layerFile{digest: fmt.Sprintf("%x", packed.Sum(nil)), diffID: fmt.Sprintf("sha256:%x", plain.Sum(nil))}
	l.path = filepath.Join(dir, l.digest)
	return l, os.Rename(at, l.path)
}

// registry starts Debian's docker-registry and has skopeo put the images into it:
// "five" with all layers, "four" without the last.
func (b *bench) registry(layers []layerFile) (addr string, err error) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	addr = free.Addr().String()
	free.Close()
	conf := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s/registry}}\nhttp: {addr: %q}\n", b.dir, addr)
	if err := os.WriteFile(b.dir+"/registry.yml", []byte(conf), 0o644); err != nil {
		return "", err
	}
	server := exec.Command("docker-registry", "serve", b.dir+"/registry.yml")
	if err := server.Start(); err != nil {
		return "", err
	}
	b.defers(func() { server.Process.Kill(); server.Wait() })
	for range 100 {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	for name, n := range map[string]int{"four": len(layers) - 1, "five": len(layers)} {
		if err := b.layout(layers[:n]); err != nil {
			return "", err
		}
		if _, err := sh("skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", "oci:"+b.dir+"/layout:image", "docker://"+addr+"/bench:"+name); err != nil {
			return "", err
		}
	}
	return addr, nil
}

// layout writes an OCI layout around blobs that are there.
func (b *bench) layout(layers []layerFile) error {
	type object map[string]any
	put := func(kind string, v object) (object, error) {
		data, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		digest := fmt.Sprintf("%x", sha256.Sum256(data))
		return object{"mediaType": kind, "digest": "sha256:" + digest, "size": len(data)}, os.WriteFile(b.dir+"/layout/blobs/sha256/"+digest, data, 0o644)
	}
	const oci = "application/vnd.oci.image."
	var diffs []string
	var descs []object
	for _, l := range layers {
		st, err := os.Stat(l.path)
		if err != nil {
			return err
		}
		diffs = append(diffs, l.diffID)
		descs = append(descs, object{"mediaType": oci + "layer.v1.tar+gzip", "digest": "sha256:" + l.digest, "size": st.Size()})
	}
	config, err := put(oci+"config.v1+json", object{"os": "linux", "architecture": runtime.GOARCH, "config": object{"Cmd": []string{"true"}}, "rootfs": object{"type": "layers", "diff_ids": diffs}})
	if err != nil {
		return err
	}
	manifest, err := put(oci+"manifest.v1+json", object{"schemaVersion": 2, "config": config, "layers": descs})
	if err != nil {
		return err
	}
	manifest["annotations"] = object{"org.opencontainers.image.ref.name": "image"}
	index, err := json.Marshal(object{"schemaVersion": 2, "manifests": []object{manifest}})
	if err != nil {
		return err
	}
	if err := os.WriteFile(b.dir+"/layout/oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644); err != nil {
		return err
	}
	return os.WriteFile(b.dir+"/layout/index.json", index, 0o644)
}
