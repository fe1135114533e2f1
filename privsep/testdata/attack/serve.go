package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// serve is a small network role: an HTTP server on descriptor 3 that also posts to the URLs that it
// gets. It ends with its standard input.
func serve([]string) error {
	listeners, err := inherited()
	if err != nil {
		return err
	}
	listener := listeners[0]
	client := &http.Client{Timeout: 5 * time.Second}
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", echo)
	mux.HandleFunc("/post", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, post(client, r.URL.Query().Get("to")))
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = server.Shutdown(context.Background())
	}()
	fmt.Println("serving")
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) &&
		!errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// echo reads everything first: HTTP/1 has no answering while reading.
func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_, _ = w.Write(body)
}

func post(client *http.Client, url string) string {
	answer, err := client.Post(url, "text/plain", strings.NewReader(strings.Repeat("x", 1<<16)))
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return err.Error()
	}
	return answer.Status + " " + string(body)
}

// resolve answers each line of its input with the addresses of that name.
func resolve([]string) error {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
		addresses, err := (&net.Resolver{PreferGo: true}).LookupHost(ctx, lines.Text())
		cancel()
		if err != nil {
			fmt.Println("error:", err)
			continue
		}
		fmt.Println(strings.Join(addresses, " "))
	}
	return lines.Err()
}

// bindByDefault shows that what the program itself does not need is refused.
func bindByDefault([]string) error {
	_, err := net.Listen("tcp", "127.0.0.1:0")
	return err
}
