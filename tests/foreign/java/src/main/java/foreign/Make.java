package foreign;

import io.jsonwebtoken.Jwts;
import io.jsonwebtoken.security.Keys;
import io.jsonwebtoken.security.SecureDigestAlgorithm;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.Key;
import java.security.KeyFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.time.Instant;
import java.util.Base64;
import java.util.Date;
import java.util.List;
import java.util.StringJoiner;

/** Tokens made by jjwt, one for each algorithm that it and Postern share. */
public final class Make {
    private static final List<String> SHARED = List.of(
        "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
        "ES256", "ES384", "EdDSA");

    private static Key key(String algorithm) throws IOException, GeneralSecurityException {
        Path keys = Path.of(System.getenv("KEYS"));
        if (algorithm.startsWith("HS")) {
            return Keys.hmacShaKeyFor(Files.readAllBytes(keys.resolve(algorithm + ".secret")));
        }
        String pem = Files.readString(keys.resolve(algorithm + ".pem"));
        byte[] der = Base64.getMimeDecoder().decode(pem.replaceAll("-----[A-Z ]+-----", ""));
        String family = switch (algorithm.substring(0, 2)) {
            case "ES" -> "EC";
            case "Ed" -> "Ed25519";
            default -> "RSA";
        };
        return KeyFactory.getInstance(family).generatePrivate(new PKCS8EncodedKeySpec(der));
    }

    @SuppressWarnings("unchecked")
    private static String token(String algorithm) throws IOException, GeneralSecurityException {
        var signature = (SecureDigestAlgorithm<Key, ?>) Jwts.SIG.get().forKey(algorithm);
        return Jwts.builder()
            .header().keyId("foreign-" + algorithm).type("JWT").and()
            .issuer("https://foreign.example")
            .audience().add("https://api.example").and()
            .subject("alice")
            .claim("roles", List.of("admin", "reader"))
            .id("jjwt-" + algorithm)
            .issuedAt(Date.from(Instant.now()))
            .expiration(Date.from(Instant.ofEpochSecond(4102444800L)))
            .signWith(key(algorithm), signature)
            .compact();
    }

    public static void main(String[] arguments) throws Exception {
        StringJoiner made = new StringJoiner(",\n", "[\n", "\n]");
        for (String algorithm : SHARED) {
            made.add("  {\n    \"algorithm\": \"" + algorithm
                + "\",\n    \"kid\": \"foreign-" + algorithm
                + "\",\n    \"token\": \"" + token(algorithm) + "\"\n  }");
        }
        Files.writeString(Path.of(System.getenv("OUTPUT")), made + "\n");
    }
}
