// minio-ready asks the MinIO of its own container whether it is ready: the health check of an image without a shell.
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

const usage = "usage: minio-ready [host:port], by default 127.0.0.1:9000; exits 0 when MinIO there is ready"

func main() {
	address, patience := "127.0.0.1:9000", 3*time.Second
	if len(os.Args) > 1 {
		address, patience = os.Args[1], 30*time.Second // a name that DNS may have to be asked for twice
	}
	if strings.HasPrefix(address, "-") || len(os.Args) > 2 {
		fmt.Println(usage)
		return
	}
	status, err := ask(address, patience)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if fields := strings.Fields(status); len(fields) < 2 || fields[1] != "200" {
		fmt.Fprintf(os.Stderr, "MinIO at %s says %q\n", address, strings.TrimSpace(status))
		os.Exit(1)
	}
}

// ask returns the first line of the answer. By hand: net/http would triple the program.
func ask(address string, patience time.Duration) (string, error) {
	connection, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return "", err
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(connection, "GET /minio/health/ready HTTP/1.0\r\nHost: %s\r\n\r\n", address); err != nil {
		return "", err
	}
	return bufio.NewReader(connection).ReadString('\n')
}
