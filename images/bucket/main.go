// bucket creates S3 buckets that are not there yet, once the store is ready.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"
)

const usage = `Usage: bucket NAME...

Creates the buckets that are not there yet; those that are, it leaves as they are. Waits up to a minute for the store.

Environment:
  AWS_ENDPOINT_URL       the store, such as http://minio:9000; unset: AWS
  AWS_REGION             by default us-east-1
  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
                         unset: the identity of the machine or the pod

Exit codes: 0 done, 1 failed, 2 wrong call or settings.
`

// The exit codes of the project's jobs.
const (
	done      = 0
	failed    = 1
	wrongCall = 2
	stopped   = 143
)

const patience = time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr, patience))
}

// run does the work of main for given arguments, environment and outputs, and returns the exit code.
func run(ctx context.Context, names []string, getenv func(string) string, out, errs io.Writer, patience time.Duration) int {
	for _, name := range names {
		if name == "-h" || name == "--help" {
			fmt.Fprint(out, usage)
			return done
		}
	}
	err := create(ctx, names, getenv, out, patience)
	var wrong *wrongCallError
	switch {
	case err == nil:
		return done
	case ctx.Err() != nil:
		fmt.Fprintln(errs, "Error: Terminated. The same call finishes the work.")
		return stopped
	case errors.As(err, &wrong):
		fmt.Fprintf(errs, "Error: %v\n", err)
		return wrongCall
	}
	fmt.Fprintf(errs, "Error: %v\n", err)
	return failed
}

// wrongCallError is an error that the same call would meet again.
type wrongCallError struct{ message string }

func (e *wrongCallError) Error() string { return e.message }

func wrong(format string, values ...any) error {
	return &wrongCallError{fmt.Sprintf(format, values...)}
}

func create(ctx context.Context, names []string, getenv func(string) string, out io.Writer, patience time.Duration) error {
	if len(names) == 0 {
		return wrong("No bucket named: give the names as arguments, see --help.")
	}
	for _, name := range names {
		if err := s3utils.CheckValidBucketNameStrict(name); err != nil {
			return wrong("%q is no bucket name: use 3 to 63 lower-case letters, digits, dots and hyphens, a letter or digit first and last.", name)
		}
	}
	client, err := connect(getenv)
	if err != nil {
		return err
	}
	deadline := time.Now().Add(patience)
	for _, name := range names {
		if err := createOne(ctx, client, name, region(getenv), out, deadline); err != nil {
			return err
		}
	}
	return nil
}

func region(getenv func(string) string) string {
	if region := getenv("AWS_REGION"); region != "" {
		return region
	}
	return "us-east-1"
}

// connect makes the client. It asks the store nothing yet.
func connect(getenv func(string) string) (*minio.Client, error) {
	address := getenv("AWS_ENDPOINT_URL")
	if address == "" {
		address = "https://s3.amazonaws.com"
	}
	store, err := url.Parse(address)
	if err != nil || (store.Scheme != "http" && store.Scheme != "https") || store.Hostname() == "" ||
		store.User != nil || strings.Trim(store.Path, "/") != "" {
		return nil, wrong("AWS_ENDPOINT_URL must look like http://minio:9000: http or https, a host, a port, nothing else.")
	}
	key, secret := getenv("AWS_ACCESS_KEY_ID"), getenv("AWS_SECRET_ACCESS_KEY")
	if (key == "") != (secret == "") {
		return nil, wrong("Only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set: set both, or none for the identity of the machine.")
	}
	identity := credentials.NewStaticV4(key, secret, getenv("AWS_SESSION_TOKEN"))
	if key == "" {
		identity = credentials.NewIAM("")
		if _, err := identity.GetWithContext(&credentials.CredContext{Client: &http.Client{Timeout: 5 * time.Second}}); err != nil {
			return nil, wrong("No credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine an identity. AWS_ENDPOINT_URL was not asked.")
		}
	}
	return minio.New(store.Host, &minio.Options{
		Creds:      identity,
		Secure:     store.Scheme == "https",
		Region:     region(getenv),
		MaxRetries: 1, // createOne tries again, and says so
	})
}

// createOne creates the bucket unless it is there, and waits for the store until the deadline.
func createOne(ctx context.Context, client *minio.Client, name, region string, out io.Writer, deadline time.Time) error {
	said := ""
	for {
		err := tryCreate(ctx, client, name, region, out)
		if err == nil || !notReady(err) {
			return explained(err, client, name)
		}
		reason := short(err)
		if ctx.Err() != nil || time.Now().After(deadline) {
			return fmt.Errorf("%s is not ready: %s. Check that it runs and that AWS_ENDPOINT_URL names it.", client.EndpointURL(), reason)
		}
		if reason != said {
			fmt.Fprintf(out, "Waiting for %s: %s\n", client.EndpointURL(), reason)
			said = reason
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

func tryCreate(ctx context.Context, client *minio.Client, name, region string, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	exists, err := client.BucketExists(ctx, name)
	if exists {
		fmt.Fprintf(out, "Bucket %s is there.\n", name)
		return nil
	}
	// The answer to a question about a bucket has no body, so a refusal has no reason; that of a creation has one.
	if err != nil && minio.ToErrorResponse(err).StatusCode != http.StatusForbidden {
		return err
	}
	err = client.MakeBucket(ctx, name, minio.MakeBucketOptions{Region: region})
	if minio.ToErrorResponse(err).Code == minio.BucketAlreadyOwnedByYou {
		fmt.Fprintf(out, "Bucket %s is there.\n", name)
		return nil
	}
	if err == nil {
		fmt.Fprintf(out, "Bucket %s created.\n", name)
	}
	return err
}

// notReady tells a store that does not answer yet from one that refuses.
func notReady(err error) bool {
	answer := minio.ToErrorResponse(err)
	if answer.StatusCode != 0 {
		return answer.StatusCode >= http.StatusInternalServerError
	}
	var connection net.Error // also of a name that is not known yet
	return errors.As(err, &connection) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// short is the cause without the request around it.
func short(err error) string {
	var request *url.Error
	if errors.As(err, &request) {
		err = request.Err
	}
	var name *net.DNSError
	if errors.As(err, &name) {
		return "the name " + name.Name + " is not known"
	}
	if message := err.Error(); message != "" {
		return message
	}
	return minio.ToErrorResponse(err).Code
}

// explained turns the store's refusal into a sentence.
func explained(err error, client *minio.Client, name string) error {
	if err == nil {
		return nil
	}
	switch answer := minio.ToErrorResponse(err); answer.Code {
	case minio.InvalidAccessKeyID, minio.SignatureDoesNotMatch, "InvalidTokenId", "ExpiredToken":
		return wrong("%s does not accept the credentials (%s): check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.", client.EndpointURL(), answer.Code)
	case minio.AccessDenied:
		return wrong("The credentials may not create the bucket %s at %s.", name, client.EndpointURL())
	case minio.BucketAlreadyExists:
		return wrong("The bucket %s at %s belongs to someone else: choose another name.", name, client.EndpointURL())
	case minio.InvalidRegion, "InvalidLocationConstraint", "AuthorizationHeaderMalformed":
		return wrong("%s is in another region: check AWS_REGION (%s).", client.EndpointURL(), answer.Message)
	}
	return fmt.Errorf("Creating the bucket %s at %s failed: %s", name, client.EndpointURL(), short(err))
}
