// Tokens made by golang-jwt, one for each algorithm that it and Postern share.
package main

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

type fixture struct {
	Algorithm string `json:"algorithm"`
	Kid       string `json:"kid"`
	Token     string `json:"token"`
}

func key(algorithm string) any {
	if strings.HasPrefix(algorithm, "HS") {
		return read(algorithm + ".secret")
	}
	block, _ := pem.Decode(read(algorithm + ".pem"))
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	check(err)
	return parsed
}

func read(name string) []byte {
	contents, err := os.ReadFile(filepath.Join(os.Getenv("KEYS"), name))
	check(err)
	return contents
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	var made []fixture
	shared := "HS256 HS384 HS512 RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 EdDSA"
	for _, algorithm := range strings.Fields(shared) {
		token := jwt.NewWithClaims(jwt.GetSigningMethod(algorithm), jwt.MapClaims{
			"iss":   "https://foreign.example",
			"aud":   []string{"https://api.example"},
			"sub":   "alice",
			"roles": []string{"admin", "reader"},
			"jti":   "golang-jwt-" + algorithm,
			"iat":   time.Now().Unix(),
			"exp":   4102444800, // 2100-01-01
		})
		token.Header["kid"] = "foreign-" + algorithm
		text, err := token.SignedString(key(algorithm))
		check(err)
		made = append(made, fixture{algorithm, "foreign-" + algorithm, text})
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	check(encoder.Encode(made))
}
